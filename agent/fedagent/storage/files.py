# SPDX-License-Identifier: Apache-2.0
"""Files that are there whole or not at all.

Rule: every durable file is written by ``write_atomically`` (write, fsync, rename, fsync of the folder: rename(2), fsync(2)).
"""

import errno
import os
from pathlib import Path

from fedagent.conditions.condition import Condition
from fedagent.conditions.files import CANNOT_MAKE_FOLDER, CANNOT_WRITE, MAY_NOT_WRITE, NO_FOLDER, NO_SPACE
from fedagent.errors import StorageError
from fedagent.storage.failpoints import Failpoint, reach


def write_atomically(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """The file holds exactly these bytes, durably, or what it held before.

    Raises:
        StorageError: no space, no permission.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        reach(Failpoint.FILE_BEFORE_RENAME)
        part.rename(path)
        reach(Failpoint.FILE_AFTER_RENAME)
        sync_folder(path.parent)
    except OSError as error:
        said = _unwritten(error)(path=path, folder=path.parent, reason=error.strerror)
        raise StorageError(said) from error


def _unwritten(error: OSError) -> Condition:
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return NO_FOLDER
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return MAY_NOT_WRITE
        case errno.ENOSPC | errno.EDQUOT:
            return NO_SPACE
        case _:
            return CANNOT_WRITE


def sync_folder(folder: Path) -> None:
    """The folder's entries are durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_private_folder(path: Path) -> Path:
    """The folder exists and only its owner may enter it.

    Raises:
        StorageError: it cannot be made.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(CANNOT_MAKE_FOLDER(path=path, reason=error.strerror)) from error
    return path
