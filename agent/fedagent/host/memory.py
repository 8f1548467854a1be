# SPDX-License-Identifier: Apache-2.0
"""Memory that can be had without swapping (MemAvailable of proc_meminfo(5))."""

from pathlib import Path

from fedagent.host import kernel_file


def parse(text: str) -> int:
    """MiB available, from the text of ``/proc/meminfo``.

    Raises:
        ValueError: the kernel does not say (before Linux 3.14).
    """
    for line in text.splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) // 1024
    raise ValueError("/proc/meminfo")


def read(root: Path) -> int | None:
    """MiB available, or None where it cannot be read."""
    try:
        return parse(kernel_file.read(root, "proc/meminfo"))
    except (OSError, ValueError):
        return None
