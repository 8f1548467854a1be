# SPDX-License-Identifier: Apache-2.0
"""Files that are there whole or not at all.

Rule: every small durable file is written by ``write_atomically`` (write, fsync, rename, fsync of the folder).
"""

import errno
import os
from pathlib import Path
from typing import Final

from fedagent.conditions.condition import Condition, Said
from fedagent.conditions.files import CANNOT_MAKE_FOLDER, CANNOT_WRITE, MAY_NOT_WRITE, NO_FOLDER, NO_SPACE
from fedagent.errors import NoSpaceError, StorageError
from fedagent.storage import disk

FULL: Final = (errno.ENOSPC, errno.EDQUOT)
"""The disk is full, or the quota on it is."""


def write_atomically(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """The file holds exactly these bytes, durably, or what it held before.

    Raises:
        StorageError: no space, no permission.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        with disk.created(part, mode=mode) as file:
            os.fchmod(file.descriptor, mode)
            file.write(data)
            file.sync()
        disk.rename(part, path)
    except OSError as error:
        if error.errno in FULL:
            disk.remove(part)  # half a file takes the room that others need
        raise not_written(error, path) from error


def storage_error(error: OSError, said: Said) -> StorageError:
    """The error in our words; a full disk has a class of its own, after which everything goes on."""
    return NoSpaceError(said) if error.errno in FULL else StorageError(said)


def not_written(error: OSError, path: Path) -> StorageError:
    """Why the file cannot be written, and what to do about it."""
    said = _unwritten(error)(path=path, folder=path.parent, reason=error.strerror)
    return storage_error(error, said)


def _unwritten(error: OSError) -> Condition:
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return NO_FOLDER
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return MAY_NOT_WRITE
        case number if number in FULL:
            return NO_SPACE
        case _:
            return CANNOT_WRITE


def make_private_folder(path: Path) -> Path:
    """The folder exists, durably, and only its owner may enter it; what an earlier process left in it is durable too.

    Raises:
        StorageError: it cannot be made.
    """
    try:
        disk.make_folder(path, 0o700)
    except OSError as error:
        raise storage_error(error, CANNOT_MAKE_FOLDER(path=path, reason=error.strerror)) from error
    return path


def make_open_folder(path: Path) -> Path:
    """The folder exists and everybody may enter it.

    Raises:
        StorageError: it cannot be made.
    """
    make_private_folder(path).chmod(0o755)
    return path
