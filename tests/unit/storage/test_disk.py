# SPDX-License-Identifier: Apache-2.0
"""The one door to durable files, and that nobody goes round it."""

import ast
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from fedagent.storage import disk

PACKAGE = Path(__file__).parents[3] / "agent" / "fedagent"
DOOR: Final = "storage/disk.py"
WITHOUT_STATE: Final = ("demo/",)
"""The demo's folder is made anew each time."""

CHANGES: Final = frozenset(
    [
        "copy_file_range",
        "fchmod",
        "fdatasync",
        "fsync",
        "ftruncate",
        "link",
        "makedirs",
        "mkdir",
        "pwrite",
        "pwritev",
        "remove",
        "removedirs",
        "rename",
        "renames",
        "replace",
        "rmdir",
        "sendfile",
        "symlink",
        "truncate",
        "unlink",
        "write",
        "writev",
    ]
)
"""Functions of ``os`` that change files."""

OF_A_PATH: Final = frozenset(
    ["hardlink_to", "mkdir", "rename", "rmdir", "symlink_to", "touch", "unlink", "write_bytes", "write_text"]
)
OTHER_DOORS: Final = frozenset({"shutil", "sqlite3", "tempfile"})
HARMLESS: Final = frozenset({"chown", "disk_usage", "get_terminal_size", "which"})

ALLOWED: Final = {
    ("storage/files.py", "write_atomically"): "fchmod, before the file's own sync",
    ("storage/database.py", "__init__"): "SQLite syncs for itself",
    ("storage/database.py", "state_version"): "opened for reading",
    ("storage/failpoints.py", "_removed"): "a test's token",
    ("aggregator/app.py", "run"): "the control socket",
    ("aggregator/lock.py", "locked"): "a lock: nothing is in it",
    ("channel.py", "sealed_memfd"): "memory",
    ("cli/main.py", "guarded"): "/dev/null",
    ("launch/control.py", "freeze"): "cgroup.freeze",
    ("launch/control.py", "kill"): "cgroup.kill",
    ("launch/control.py", "thaw"): "cgroup.freeze",
    ("site/app.py", "run"): "the control socket",
    ("trainer/groups.py", "__init__"): "the cgroup",
    ("trainer/groups.py", "kill"): "cgroup.kill",
    ("trainer/groups.py", "take"): "cgroup.procs",
    ("trainer/making.py", "_work_folder"): "work that the next run throws away",
    ("trainer/supervisor.py", "_take_turn"): "a lock: nothing is in it",
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def changes_files(call: ast.Call) -> bool:
    """Whether this call may change a file."""
    if not isinstance(call.func, ast.Attribute):
        return isinstance(call.func, ast.Name) and call.func.id == "open" and opens_for_writing(call)
    owner, called = ast.unparse(call.func.value), call.func.attr
    if owner in OTHER_DOORS:
        return called not in HARMLESS
    if owner == "os":
        return called in CHANGES or (called in {"open", "fdopen"} and opens_for_writing(call))
    if owner == "disk":
        return False
    if called == "replace":  # of a path: one argument; of a text or a Struct: another form
        return len(call.args) == 1 and not call.keywords
    return called in OF_A_PATH or (called == "open" and opens_for_writing(call))


def opens_for_writing(call: ast.Call) -> bool:
    """By its flags, or by its mode."""
    given = [*call.args, *(each.value for each in call.keywords)]
    modes = [each.value for each in given if isinstance(each, ast.Constant) and isinstance(each.value, str)]
    flags = ("O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_APPEND")
    return any(flag in ast.unparse(each) for each in given for flag in flags) or any(
        len(mode) <= 3 and set(mode) & set("wax+") for mode in modes
    )


def changing_calls() -> Iterator[tuple[str, str, ast.Call]]:
    """Module, innermost function and call."""
    for path in sorted(PACKAGE.rglob("*.py")):
        module = str(path.relative_to(PACKAGE))
        if module == DOOR or module.startswith(WITHOUT_STATE):
            continue
        yield from calls_below(module, "", ast.parse(path.read_text("utf-8")))


def calls_below(module: str, function: str, node: ast.AST) -> Iterator[tuple[str, str, ast.Call]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Call) and changes_files(child):
            yield module, function, child
        yield from calls_below(module, child.name if isinstance(child, Function) else function, child)


def test_durable_files_are_changed_through_the_one_door() -> None:
    found, excused = [], set()
    for module, function, call in changing_calls():
        if (module, function) in ALLOWED:
            excused.add((module, function))
        else:
            found.append(f"{module}:{call.lineno} ({function}): {ast.unparse(call)[:60]}")
    assert not found, f"not through {DOOR}, so no test sees whether it is durable:\n" + "\n".join(found)
    assert excused == ALLOWED.keys(), "an exception that is not needed any more"


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("path.write_bytes(b'')", True),
        ("path.open('wb')", True),
        ("path.open('rb')", False),
        ("open(path, mode='a')", True),
        ("os.open(path, os.O_RDONLY | os.O_CREAT)", True),
        ("os.open(path, os.O_RDONLY)", False),
        ("os.fsync(file)", True),
        ("part.replace(path)", True),
        ("text.replace('a', 'b')", False),
        ("shutil.rmtree(path)", True),
        ("disk.rename(old, new)", False),
    ],
)
def test_what_counts_as_a_change(text: str, seen: bool) -> None:
    call = ast.parse(text, mode="eval").body
    assert isinstance(call, ast.Call)
    assert changes_files(call) is seen


# --- what the door itself does --------------------------------------------------------------------------------------


def test_a_created_file_takes_the_place_of_one_that_was_there(state_folder: Path) -> None:
    path = state_folder / "file"
    path.write_bytes(b"longer before")
    with disk.created(path, mode=0o640) as file:
        file.write(b"a")
        file.write(memoryview(b"bc"))
        file.sync()
    assert path.read_bytes() == b"abc"


def test_a_removed_file_may_be_gone_already(state_folder: Path) -> None:
    path = state_folder / "file"
    path.touch()
    disk.remove(path)
    disk.remove(path)
    assert not path.exists()


def test_a_link_does_not_take_the_place_of_a_file(state_folder: Path) -> None:
    for name in ("one", "two"):
        (state_folder / name).write_text(name)
    with pytest.raises(FileExistsError):
        disk.link(state_folder / "one", state_folder / "two")
    assert (state_folder / "two").read_text() == "two"


def test_the_folders_above_are_as_open_as_the_umask_says(state_folder: Path) -> None:
    before = os.umask(0o022)
    try:
        disk.make_folder(state_folder / "above" / "private", 0o700)
    finally:
        os.umask(before)
    modes = [
        path.stat().st_mode & 0o777 for path in (state_folder / "above", state_folder / "above" / "private")
    ]
    assert modes == [0o755, 0o700]
