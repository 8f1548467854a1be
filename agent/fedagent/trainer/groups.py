# SPDX-License-Identifier: Apache-2.0
"""The supervisor's own control groups: itself in ``main/``, the worker in ``work/`` (cgroup v2, Delegate=yes).

Rule: groups are made only in a cgroup that holds nothing but this process: a service's own, never the daemon's.
"""

import contextlib
import os
from pathlib import Path
from typing import Final

_FILES: Final = (("cgroup.freeze", os.O_WRONLY), ("cgroup.kill", os.O_WRONLY), ("cgroup.events", os.O_RDONLY))


class WorkGroup:
    """The cgroup ``work/`` below the service's own.

    Attributes:
        unit: folder of the service's own.
    """

    def __init__(self, unit: Path) -> None:
        """Makes both groups and moves this process into ``main/``.

        Raises:
            OSError: the folder is not ours to change.
        """
        self.unit = unit
        self._folder = unit / "work"
        main = unit / "main"
        main.mkdir(exist_ok=True)
        self._folder.mkdir(exist_ok=True)
        (main / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")

    def take(self, pid: int) -> None:
        """The process, and whatever it starts from now on, is in the group; frozen where the group is."""
        with contextlib.suppress(
            ProcessLookupError
        ):  # it died at once; its end is handled where it is noticed
            (self._folder / "cgroup.procs").write_text(str(pid), encoding="ascii")

    def open_files(self) -> list[int]:
        """cgroup.freeze, cgroup.kill and cgroup.events, open: the right to use them goes with the descriptors."""
        return [os.open(self._folder / name, flags | os.O_CLOEXEC) for name, flags in _FILES]

    def frozen(self) -> bool:
        """Whether somebody froze the group."""
        return (self._folder / "cgroup.freeze").read_text(encoding="ascii").strip() == "1"

    def kill(self) -> None:
        """Everything in the group dies, also when it is frozen."""
        (self._folder / "cgroup.kill").write_text("1", encoding="ascii")


def make_group() -> WorkGroup | None:
    """The group for the worker, or None where this process has no cgroup v2 to itself."""
    unit = own_cgroup(Path("/proc/self"))
    if unit is None or not all((unit / name).exists() for name, _ in _FILES):
        return None
    try:
        if (unit / "cgroup.procs").read_text(encoding="ascii").split() != [str(os.getpid())]:
            return None
        return WorkGroup(unit)
    except OSError:
        return None


def own_cgroup(process: Path) -> Path | None:
    """The folder of a process's cgroup v2, or None where there is none or it is the root.

    Args:
        process: its folder in /proc.
    """
    path = parse_cgroup((process / "cgroup").read_text(encoding="utf-8"))
    mount = parse_mountinfo((process / "mountinfo").read_text(encoding="utf-8"))
    return mount / path if path and mount else None


def parse_cgroup(text: str) -> str | None:
    """The path of the v2 line ``0::/path`` of /proc/PID/cgroup, without its first slash; None for the root."""
    for line in text.splitlines():
        if line.startswith("0::/"):
            return line.removeprefix("0::/") or None
    return None


def parse_mountinfo(text: str) -> Path | None:
    """Where cgroup v2 is mounted with its root, proc_pid_mountinfo(5)."""
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split()
        if right.startswith("cgroup2 ") and fields[3] == "/":
            return Path(fields[4])
    return None
