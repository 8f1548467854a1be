# SPDX-License-Identifier: Apache-2.0
"""How much room a disk has.

Rule: asked before something large is begun, so that it is refused whole and never fails half done; what was begun may still
meet a full disk, since others write there too.
"""

import os
from pathlib import Path
from typing import Final

from fedagent.conditions.files import TOO_LITTLE_ROOM
from fedagent.errors import NoSpaceError

MIB: Final = 1_048_576


def free_bytes(folder: Path) -> int | None:
    """What an ordinary user may still write there (f_bavail of statvfs(3)); None where nobody can say."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


def lack(folder: Path, *, reserve_bytes: int) -> str:
    """Why nothing large is begun there now; empty where the reserve is free."""
    try:
        require(folder, 0, reserve_bytes=reserve_bytes)
    except NoSpaceError as error:
        return str(error)
    return ""


def require(folder: Path, size_bytes: int, *, reserve_bytes: int) -> None:
    """Nothing, where so much can be written and the reserve stays free.

    Raises:
        NoSpaceError: it cannot.
    """
    free, needed = free_bytes(folder), size_bytes + reserve_bytes
    if free is not None and free < needed:
        said = TOO_LITTLE_ROOM(free_mib=free // MIB, folder=folder, needed_mib=-(-needed // MIB))
        raise NoSpaceError(said)
