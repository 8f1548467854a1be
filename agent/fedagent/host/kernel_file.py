# SPDX-License-Identifier: Apache-2.0
"""Reads a file of the kernel's: small, never stored, wanted several times a second for as long as the machine runs.

Rule: no more than the four system calls that it takes. ``Path.read_text`` makes nine, in twice the CPU time [measured
with cold caches, as an idle daemon has them: 3 files 240 µs, here 110 µs].
"""

import os
from pathlib import Path
from typing import Final

_PIECE_BYTES: Final = 65_536
"""The kernel gives all of it at once, where there is room."""


def read(root: Path, name: str) -> str:
    """The text of a file below ``/proc`` or ``/sys``; what is no UTF-8 (the name of a process) is replaced.

    Args:
        root: ``/``, or a captured tree in tests.

    Raises:
        OSError: there is no such file, or what it tells of has just ended.
    """
    descriptor = os.open(f"{root}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        pieces = []
        while piece := os.read(descriptor, _PIECE_BYTES):
            pieces.append(piece)
    finally:
        os.close(descriptor)
    return b"".join(pieces).decode(errors="replace")
