# SPDX-License-Identifier: Apache-2.0
"""Rules of the house that no linter knows. Each failure names the file, and the line where there is one."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "agent" / "fedagent"
MODULES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
TOOLS = sorted((ROOT / ".ci").rglob("*.py"))
ALL = [*MODULES, *TESTS, *TOOLS]

SPDX = "# SPDX-License-Identifier: Apache-2.0"
MODULE_LINES = 400
FUNCTION_LINES = 40
README_LINES = 150
WORDS_WITHOUT_MEANING = frozenset({"util", "helper", "common", "misc", "base", "manager"})
PURE = ("core", "wire", "security")
MAY_CATCH_ALL = frozenset({"cli/main.py", "trainer/supervisor.py", "trainer/worker.py"})
"""Of these two may: the trainer's main reports and exits; ``guarded`` does so for every command of both programs. Whatever else fails,
crashes, and systemd restarts it. A handler that raises again catches nothing and may stand anywhere."""
TEXT_SUFFIXES = frozenset({"", ".cfg", ".conf", ".csv", ".in", ".lock", ".md", ".py", ".service", ".sh", ".socket",
                           ".toml", ".txt", ".yaml", ".yml"})  # fmt: skip
GENERATED = frozenset({"build", "dist", "__pycache__"})
HIDDEN_BUT_OURS = frozenset({".ci", ".gitignore"})


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def trees(paths: list[Path]) -> Iterator[tuple[Path, ast.AST]]:
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            yield path, node


def text_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        hidden = path.name.startswith(".") and path.name not in HIDDEN_BUT_OURS
        if hidden or path.name in GENERATED or path.is_symlink():
            continue
        if path.is_dir():
            yield from text_files(path)
        elif path.suffix in TEXT_SUFFIXES:
            yield path


def is_broad(node: ast.expr | None) -> bool:
    """Whether an ``except`` clause with this expression, or ``suppress`` of it, takes every error."""
    if node is None:
        return True
    if isinstance(node, ast.Tuple):
        return any(is_broad(part) for part in node.elts)
    return isinstance(node, ast.Name) and node.id in {"Exception", "BaseException"}


def swallows_all(node: ast.AST) -> bool:
    match node:
        case ast.ExceptHandler(type=kind, body=body):
            last = body[-1]
            return is_broad(kind) and not (isinstance(last, ast.Raise) and last.exc is None)
        case ast.Call(func=ast.Name(id="suppress") | ast.Attribute(attr="suppress"), args=arguments):
            return any(is_broad(argument) for argument in arguments)
        case _:
            return False


def is_sleep(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Attribute(attr="sleep", value=ast.Name(id="time" | "asyncio"))):
            return True
        case ast.ImportFrom(module="time" | "asyncio", names=names):
            return any(alias.name == "sleep" for alias in names)
        case _:
            return False


def test_there_is_something_to_check() -> None:
    assert len(MODULES) > len(PURE)
    assert len(TESTS) > len(PURE)


def test_modules_are_short() -> None:
    lengths = {name(path): len(path.read_text("utf-8").splitlines()) for path in ALL}
    assert {file: length for file, length in lengths.items() if length > MODULE_LINES} == {}


def test_functions_are_short() -> None:
    long = [
        f"{name(path)}:{node.lineno} {node.name}: {node.end_lineno - node.lineno + 1} lines"
        for path, node in trees(ALL)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > FUNCTION_LINES
    ]
    assert long == []


def test_files_start_with_their_licence() -> None:
    assert [name(path) for path in ALL if path.read_text("utf-8").partition("\n")[0] != SPDX] == []


def test_names_of_modules_mean_something() -> None:
    words = {
        part: set(part.split("_")) for path in ALL for part in path.relative_to(ROOT).with_suffix("").parts
    }
    banned = WORDS_WITHOUT_MEANING | {f"{word}s" for word in WORDS_WITHOUT_MEANING}
    assert [part for part, found in words.items() if found & banned] == []


def test_nothing_sleeps() -> None:
    assert [f"{name(path)}: {ast.unparse(node)}" for path, node in trees(ALL) if is_sleep(node)] == []


def test_only_two_files_catch_everything() -> None:
    found = {str(path.relative_to(PACKAGE)) for path, node in trees(MODULES) if swallows_all(node)}
    assert found - MAY_CATCH_ALL == set()
    assert len(found) <= 2


@pytest.mark.parametrize("part", PURE)
def test_each_pure_module_has_its_own_tests(part: str) -> None:
    modules = [path.relative_to(PACKAGE) for path in MODULES if path.name != "__init__.py"]
    wanted = [
        ROOT / "tests/unit" / path.with_name(f"test_{path.name}") for path in modules if path.parts[0] == part
    ]
    assert [name(path) for path in wanted if not path.is_file()] == []


def test_no_file_knows_the_machine_it_was_written_on() -> None:
    here = re.compile(rf"(?<![\w.}}])({re.escape(str(ROOT))}|{re.escape(str(Path.home()))}/)")
    assert [name(path) for path in text_files(ROOT) if here.search(path.read_text("utf-8", "replace"))] == []


def test_the_readme_is_read_in_one_sitting() -> None:
    readme = ROOT / "README.md"
    assert not readme.exists() or len(readme.read_text("utf-8").splitlines()) <= README_LINES


@pytest.mark.parametrize(
    ("module", "without"),
    [
        ("fedagent.site.app", {"duckdb", "numpy", "pg8000", "torch"}),
        ("fedagent.trainer.supervisor", {"duckdb", "pg8000", "torch"}),
    ],
)
def test_a_program_that_runs_for_days_holds_no_library_of_another_one(module: str, without: set[str]) -> None:
    script = f"import sys, {module}; print(sorted({without!r} & sys.modules.keys()))"
    ran = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert ran.stdout.strip() == "[]"
