# SPDX-License-Identifier: Apache-2.0
"""The use of the CPU by others than fedagent (proc_stat(5), proc_pid_stat(5), cgroup v2 cpu.stat).

Rule: what is ours is subtracted, so that our own training and uploads never look like somebody else's work.
"""

import os
from pathlib import Path
from typing import Final

import msgspec

from fedagent.host import kernel_file

_TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")


class CpuTimes(msgspec.Struct, frozen=True):
    """Seconds since boot over all CPUs: what was worked (user, nice, system, irq, softirq), and how many CPUs there are."""

    busy_s: float
    count: int


def parse(text: str) -> CpuTimes:
    """The times in the text of ``/proc/stat``.

    Raises:
        ValueError: it has no line for the whole machine.
    """
    lines = text.splitlines()
    head = lines[0].split() if lines else []
    if not head or head[0] != "cpu":
        raise ValueError("/proc/stat")
    user, nice, system, _idle, _iowait, irq, softirq = (int(field) for field in head[1:8])
    count = sum(line[:3] == "cpu" and line[3:4].isdigit() for line in lines)
    return CpuTimes((user + nice + system + irq + softirq) / _TICKS_A_SECOND, max(1, count))


def parse_process(text: str) -> float:
    """CPU seconds of one process with its threads, from ``/proc/PID/stat`` (the name may hold spaces and brackets)."""
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND


def parse_cgroup(text: str) -> float:
    """CPU seconds of a control group, from ``cpu.stat``.

    Raises:
        ValueError: it does not say.
    """
    for line in text.splitlines():
        if line.startswith("usage_usec "):
            return int(line.split()[1]) / 1e6
    raise ValueError("cpu.stat")


def read(root: Path) -> CpuTimes | None:
    """The machine's times, or None where they cannot be read."""
    try:
        return parse(kernel_file.read(root, "proc/stat"))
    except (OSError, ValueError):
        return None


def read_own(root: Path) -> dict[str, float]:
    """CPU seconds of what is ours, by part, so that one that ended can be told from one that slept.

    This daemon, and the trainers: what systemd runs in their slice, and this process's descendants.
    """
    own = {"daemon": sum(os.times()[:2])} | _descendants(root, os.getpid())
    try:
        own["slice"] = parse_cgroup(kernel_file.read(root, "sys/fs/cgroup/fedagent.slice/cpu.stat"))
    except (OSError, ValueError):
        return own
    return own


def _descendants(root: Path, process: int) -> dict[str, float]:
    found: dict[str, float] = {}
    for child in _children(root, process):
        try:
            found[str(child)] = parse_process(kernel_file.read(root, f"proc/{child}/stat"))
        except OSError:
            continue
        found |= _descendants(root, child)
    return found


def _children(root: Path, process: int) -> list[int]:
    """The children of a process (proc_pid_task(5)); none where the kernel does not say."""
    try:
        text = kernel_file.read(root, f"proc/{process}/task/{process}/children")
    except OSError:
        return []
    return [int(child) for child in text.split()]
