# SPDX-License-Identifier: Apache-2.0
"""Failpoints, and that nothing becomes durable without one."""

import ast
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedagent.storage.failpoints import ENVIRONMENT, Failpoint, reach

PACKAGE = Path(__file__).parents[3] / "agent" / "fedagent"
MAKES_DURABLE = frozenset({"rename", "hardlink_to", "symlink_to", "link"})
WITHOUT = {("demo/broker.py", "find_mosquitto"): "a cache of the demo's, filled again where it lacks"}

REACH = "from fedagent.storage.failpoints import *; [print(n, flush=True) or reach(Failpoint.UPDATE_SEALED) for n in range(3)]"


def test_a_point_that_nobody_named_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    for point in Failpoint:
        reach(point)


@pytest.mark.parametrize(
    ("named", "reached", "code"),
    [
        pytest.param("update-sealed", 1, -signal.SIGKILL, id="first time"),
        pytest.param("update-sealed:2", 2, -signal.SIGKILL, id="second time"),
        pytest.param("snapshot-written", 3, 0, id="another point"),
    ],
)
def test_a_process_dies_at_the_named_point(named: str, reached: int, code: int) -> None:
    environment = {**os.environ, ENVIRONMENT: named, "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run(
        [sys.executable, "-c", REACH], env=environment, check=False, stdout=subprocess.PIPE, text=True
    )
    assert (ran.returncode, len(ran.stdout.split())) == (code, reached)


def test_only_the_named_program_dies_and_only_once(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.touch()
    program = "import sys; sys.orig_argv[1:1] = ['-m', 'one.program']; " + REACH
    codes = []
    for module in ("another.program", "one.program", "one.program"):
        environment = {**os.environ, ENVIRONMENT: f"update-sealed:2:{module}:{token}"}
        environment["PYTHONPATH"] = os.pathsep.join(sys.path)
        ran = subprocess.run(
            [sys.executable, "-c", program], env=environment, check=False, stdout=subprocess.DEVNULL
        )
        codes.append(ran.returncode)
    assert codes == [0, -signal.SIGKILL, 0]
    assert not token.exists()


# --- every commit, rename and publish has one --------------------------------------------------------------------


def is_durable_call(node: ast.Call) -> bool:
    """Whether this call makes something durable, or hands a message over: a rename, a link, a COMMIT, paho's publish.

    ``storage.disk`` has the points of all renames and links that go through it.
    """
    if not isinstance(node.func, ast.Attribute):
        return False
    owner, called = ast.unparse(node.func.value), node.func.attr
    if owner == "disk":
        return False
    if called in MAKES_DURABLE or (owner, called) == ("os", "replace"):
        return True
    if called == "replace":  # of a path: one argument; of a text or a Struct: another form
        return len(node.args) == 1 and not node.keywords
    if called == "publish":
        return owner.endswith("client")
    texts = [each.value for each in ast.walk(node) if isinstance(each, ast.Constant)]
    return called.startswith("execute") and any("COMMIT" in str(text) for text in texts)


def durable_calls() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef, ast.Call]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        functions = [
            node
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        for function in functions:
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and is_durable_call(node):
                    yield str(path.relative_to(PACKAGE)), function, node


def reached_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[int]:
    calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
    return [node.lineno for node in calls if ast.unparse(node.func) == "reach"]


def test_every_commit_rename_and_publish_has_its_failpoints() -> None:
    bare, excused = [], set()
    for module, function, node in durable_calls():
        lines = reached_lines(function)
        is_publish = ast.unparse(node.func).endswith("publish")
        if any(line > node.lineno for line in lines) and (
            is_publish or any(line < node.lineno for line in lines)
        ):
            continue
        if (module, function.name) in WITHOUT:
            excused.add((module, function.name))
            continue
        bare.append(f"{module}:{node.lineno} ({function.name}): {ast.unparse(node)[:60]}")
    assert not bare, "no failpoint before and after:\n" + "\n".join(bare)
    assert excused == WITHOUT.keys(), "an exception that is not needed any more"


def test_every_failpoint_is_in_the_code() -> None:
    used = {
        node.attr
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "Failpoint"
    }
    assert used == set(Failpoint.__members__)
