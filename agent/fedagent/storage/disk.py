# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: PTH102, PTH104, PTH108 (the system calls as they are)
"""Every change to a file that must outlive its process: opened, written, synced, renamed, linked and removed here alone.

Rule: each function is one system call of ``os`` (or a loop of one), so that a test that records them sees all, in order.
Nothing is durable before a sync: contents by a sync of the file, a new, renamed or removed name by one of its folder
(fsync(2), rename(2)). Callers translate ``OSError``.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from fedagent.storage.failpoints import Failpoint, reach

_PARENT_MODE: Final = 0o777
"""As ``mkdir --parents``: less the umask."""


class NewFile:
    """A file that is written from its beginning; open until its block ends."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def write(self, data: bytes | memoryview) -> None:
        """Appends all of it."""
        view = memoryview(data).cast("B")
        while view:
            view = view[os.write(self.descriptor, view) :]

    def sync(self) -> None:
        """What was written is durable; the file's name is with its folder's sync."""
        os.fsync(self.descriptor)


@contextmanager
def created(path: Path, *, mode: int = 0o600) -> Iterator[NewFile]:
    """An empty file of that name, in the place of one that was there."""
    with opened(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode=mode) as descriptor:
        yield NewFile(descriptor)


@contextmanager
def opened(path: Path, flags: int, *, mode: int = 0o600) -> Iterator[int]:
    """The file's descriptor until the block ends; ``mode`` is that of a new file."""
    descriptor = os.open(path, flags | os.O_CLOEXEC, mode)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def write_at(descriptor: int, data: bytes | bytearray, offset: int) -> None:
    """Writes all of it from there on."""
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def resize(descriptor: int, size_bytes: int) -> None:
    """The file is that long: cut, or filled up with zeros."""
    os.ftruncate(descriptor, size_bytes)


def allocate(descriptor: int, size_bytes: int) -> None:
    """The file's first bytes have their room on the disk: writing them cannot fail for lack of it."""
    if size_bytes:
        os.posix_fallocate(descriptor, 0, size_bytes)


def sync_contents(descriptor: int) -> None:
    """What the file holds, and how much, is durable."""
    os.fdatasync(descriptor)


def sync_file(path: Path) -> None:
    """The same of a file that somebody else wrote."""
    with opened(path, os.O_RDONLY) as descriptor:
        os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """The folder's entries are durable."""
    with opened(folder, os.O_RDONLY | os.O_DIRECTORY) as descriptor:
        os.fsync(descriptor)


def rename(old: Path, new: Path) -> None:
    """The file has the new name, durably; whatever had it is gone. Sync its contents first."""
    reach(Failpoint.FILE_BEFORE_RENAME)
    os.rename(old, new)
    reach(Failpoint.FILE_AFTER_RENAME)
    sync_folder(new.parent)


def link(file: Path, name: Path) -> None:
    """The file has this name too, durably.

    Raises:
        FileExistsError: another file has it, durably.
    """
    reach(Failpoint.FILE_BEFORE_RENAME)
    try:
        os.link(file, name)
        reach(Failpoint.FILE_AFTER_RENAME)
    finally:
        sync_folder(name.parent)


def remove(path: Path) -> None:
    """The name is gone, if it was there; durably with the next sync of the folder."""
    with suppress(FileNotFoundError):
        os.unlink(path)


def make_folder(path: Path, mode: int) -> None:
    """The folder and those above it exist, durably, and so does what an earlier process left in it."""
    if not path.is_dir():
        if not path.parent.is_dir():
            make_folder(path.parent, _PARENT_MODE)
        try:
            os.mkdir(path, mode)
        except FileExistsError:
            if not path.is_dir():
                raise
    sync_folder(path)
    with suppress(PermissionError):  # a folder that another user made, in one that we may not read
        sync_folder(path.parent)
