# SPDX-License-Identifier: Apache-2.0
"""Files that are there whole or not at all.

Rule: every durable file is written by ``write_atomically`` (write, fsync, rename, fsync of the folder: rename(2), fsync(2)).
"""

import errno
import os
from pathlib import Path

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
        raise StorageError(f"cannot write {path}: {error.strerror}; {_remedy(error, path.parent)}") from error


def _remedy(error: OSError, folder: Path) -> str:
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return f"make the folder {folder} first, or name another one"
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return f"try sudo, or correct the permissions of {folder}"
        case errno.ENOSPC | errno.EDQUOT:
            return "free space there"
        case _:
            return "check that disk"


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
        raise StorageError(
            f"cannot make the folder {path}: {error.strerror}; correct its permissions"
        ) from error
    return path
