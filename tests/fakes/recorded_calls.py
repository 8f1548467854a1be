# SPDX-License-Identifier: Apache-2.0
"""The kernel's calls as ``storage.disk`` makes them: done, and told to a listener in their order."""

import os
from pathlib import Path
from typing import Any, Protocol

from typing_extensions import override


class Listener(Protocol):
    """Who hears of each call; ``alive`` is asked before it, and may end the process with an exception."""

    def alive(self) -> None: ...

    def opened(self, descriptor: int, path: Path, *, is_new: bool, truncates: bool) -> None: ...

    def closed(self, descriptor: int) -> None: ...

    def wrote(self, descriptor: int, data: bytes, offset: int | None) -> None: ...

    def resized(self, descriptor: int, size: int) -> None: ...

    def synced(self, descriptor: int) -> None: ...

    def renamed(self, old: Path, new: Path, inode: int) -> None: ...

    def named(self, path: Path, inode: int | None) -> None: ...

    def made_folder(self, path: Path) -> None: ...

    def inode_of(self, path: Path) -> int: ...


class CallsWithoutSync:
    """``os`` as ``storage.disk`` sees it, on a disk that is always quick."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 (whatever os has)
        return getattr(os, name)

    def fsync(self, descriptor: int) -> None:
        """Nothing waits."""

    def fdatasync(self, descriptor: int) -> None:
        """Nothing waits."""


class RecordedCalls(CallsWithoutSync):
    """The same, and a listener is told."""

    def __init__(self, told: Listener) -> None:
        self._told = told

    def open(self, path: Path, flags: int, mode: int = 0o777) -> int:
        self._told.alive()
        is_new = not os.path.lexists(path)
        descriptor = os.open(path, flags, mode)
        self._told.opened(descriptor, path, is_new=is_new, truncates=bool(flags & os.O_TRUNC))
        return descriptor

    def close(self, descriptor: int) -> None:
        os.close(descriptor)
        self._told.closed(descriptor)

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        self._told.alive()
        written = os.write(descriptor, data)
        self._told.wrote(descriptor, bytes(data[:written]), None)
        return written

    def pwrite(self, descriptor: int, data: bytes | memoryview, offset: int) -> int:
        self._told.alive()
        written = os.pwrite(descriptor, data, offset)
        self._told.wrote(descriptor, bytes(data[:written]), offset)
        return written

    def ftruncate(self, descriptor: int, size: int) -> None:
        self._told.alive()
        os.ftruncate(descriptor, size)
        self._told.resized(descriptor, size)

    @override
    def fsync(self, descriptor: int) -> None:
        self._told.alive()
        self._told.synced(descriptor)

    @override
    def fdatasync(self, descriptor: int) -> None:
        self.fsync(descriptor)

    def rename(self, old: Path, new: Path) -> None:
        self._told.alive()
        inode = self._told.inode_of(old)
        os.rename(old, new)  # noqa: PTH104 (the call that is recorded)
        self._told.renamed(old, new, inode)

    def link(self, old: Path, new: Path) -> None:
        self._told.alive()
        os.link(old, new)
        self._told.named(new, self._told.inode_of(old))

    def unlink(self, path: Path) -> None:
        self._told.alive()
        os.unlink(path)  # noqa: PTH108 (the call that is recorded)
        self._told.named(path, None)

    def mkdir(self, path: Path, mode: int) -> None:
        self._told.alive()
        os.mkdir(path, mode)  # noqa: PTH102 (the call that is recorded)
        self._told.made_folder(path)
