# SPDX-License-Identifier: Apache-2.0
"""Room on the disks that hold our state (f_bavail of statvfs(3): what an ordinary user may write)."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_MIB: Final = 1_048_576


def read(folders: Sequence[Path]) -> int | None:
    """MiB free on the fullest of these folders' disks, or None where it cannot be read.

    Args:
        folders: one that is not there yet lies on the disk of the folder in which it will be made.
    """
    try:
        return min(_free_bytes(folder) for folder in folders) // _MIB
    except OSError:
        return None


def _free_bytes(folder: Path) -> int:
    there = next(each for each in (folder, *folder.parents) if each.exists())
    found = os.statvfs(there)
    return found.f_bavail * found.f_frsize
