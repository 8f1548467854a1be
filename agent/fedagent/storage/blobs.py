# SPDX-License-Identifier: Apache-2.0
"""A folder of blobs by their digest: whole ones, and those that still grow.

Rule: a set bit in ``.have`` means that the chunk is durable (data are synced before the bit), and a file without a
suffix is whole. So any process may be killed at any instant, and what it finds afterwards is true.
"""

import fcntl
import hashlib
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from fedagent.conditions.files import CANNOT_USE, ENDS_EARLY, NO_SPACE, NOT_WHOLE, OVER_BUDGET
from fedagent.conditions.messages import CHUNK_DIGEST, CHUNK_SIZE, NO_SUCH_BLOB, NO_SUCH_CHUNK
from fedagent.errors import NoSpaceError, StorageError, WireError
from fedagent.storage import disk
from fedagent.storage.files import FULL, make_private_folder, storage_error, write_atomically
from fedagent.storage.room import MIB, require
from fedagent.wire.codec import decode, encode
from fedagent.wire.manifest import Manifest, blob_digest, chunk_size
from fedagent.wire.topics import OFFER_BYTES

SYNC_CHUNKS: Final = 4
"""Chunks between two syncs: a crash costs at most so many, fetched again."""

_INCOMING: Final = ".incoming-"
"""A file that is being added is locked; one that nobody holds was left by a process that died."""

_WHOLE: Final = re.compile(r"[0-9a-f]{64}")
_SUFFIXES: Final = (".have", ".part", ".manifest", "")
"""In the order of deletion: no bit may outlive its data."""


class BlobFolder:
    """Blobs below one folder, owned by one process.

    Attributes:
        reserve_bytes: a blob that comes from elsewhere is begun only where so much stays free on the disk after it.
    """

    def __init__(self, path: Path, *, reserve_bytes: int = 0, budget_bytes: int | None = None) -> None:
        """Makes the folder.

        Args:
            budget_bytes: a blob that comes from elsewhere is begun only where all blobs together stay below it.

        Raises:
            StorageError: it cannot be made.
        """
        self._folder = make_private_folder(path)
        self.reserve_bytes, self._budget_bytes = reserve_bytes, budget_bytes
        with _translated(path):
            for left in path.glob(f"{_INCOMING}*"):
                _delete_unless_locked(left)

    def path(self, digest: bytes) -> Path | None:
        """Where the whole blob is, or None while it is not."""
        path = self._folder / digest.hex()
        return path if path.is_file() else None

    def manifest(self, digest: bytes) -> Manifest | None:
        """The blob's manifest, if it was ever here."""
        with _translated(self._folder), suppress(FileNotFoundError, WireError):
            data = (self._folder / f"{digest.hex()}.manifest").read_bytes()
            if hashlib.sha256(data).digest() == digest:
                return decode(data, Manifest, limit_bytes=OFFER_BYTES)
        return None

    def read_manifest(self, digest: bytes) -> bytes:
        """The manifest of a whole blob as it goes over the wire.

        Raises:
            WireError: there is no such blob.
        """
        return encode(self._whole(digest)[1])

    def read_chunk(self, digest: bytes, index: int) -> bytes:
        """One chunk of a whole blob.

        Raises:
            WireError: there is no such blob or chunk.
            StorageError: it cannot be read.
        """
        path, manifest = self._whole(digest)
        if not 0 <= index < len(manifest.chunks):
            raise WireError(NO_SUCH_CHUNK(blob=_short(digest), index=index))
        return read_at(path, index * manifest.chunk_bytes, chunk_size(manifest, index))

    def open_partial(self, manifest: Manifest) -> "PartialBlob":
        """The blob to be filled; what is here already is kept. Its room is taken at once, so that it is not lacking later.

        Raises:
            NoSpaceError: it does not fit; nothing is left.
            StorageError: no permission.
        """
        if not any(
            (self._folder / f"{blob_digest(manifest).hex()}{each}").exists() for each in ("", ".part")
        ):
            self._require(manifest.size_bytes)
        return PartialBlob(self._folder, manifest)

    def _require(self, size_bytes: int) -> None:
        if self._budget_bytes is not None and (used := self.size_bytes()) + size_bytes > self._budget_bytes:
            said = OVER_BUDGET(
                used_mib=used // MIB,
                folder=self._folder,
                needed_mib=-(-size_bytes // MIB),
                budget_mib=self._budget_bytes // MIB,
            )
            raise NoSpaceError(said)
        require(self._folder, size_bytes, reserve_bytes=self.reserve_bytes)

    def add_file(self, chunks: Iterable[bytes], chunk_bytes: int) -> Manifest:
        """A whole durable blob of these chunks (each ``chunk_bytes`` long but the last).

        Raises:
            StorageError: no space, no permission; nothing is left.
        """
        digests: list[bytes] = []
        size = 0
        incoming = self._folder / f"{_INCOMING}{secrets.token_hex(8)}"
        with _translated(self._folder):
            try:
                with disk.created(incoming) as file:
                    fcntl.flock(file.descriptor, fcntl.LOCK_EX)
                    for chunk in chunks:
                        file.write(chunk)
                        digests.append(hashlib.sha256(chunk).digest())
                        size += len(chunk)
                    file.sync()
                manifest = Manifest(size_bytes=size, chunk_bytes=chunk_bytes, chunks=tuple(digests))
                self._adopt(incoming, manifest)
            finally:
                disk.remove(incoming)
        return manifest

    def delete(self, digest: bytes) -> None:
        """Nothing of the blob is left, whole or not."""
        with _translated(self._folder):
            for suffix in _SUFFIXES:
                disk.remove(self._folder / f"{digest.hex()}{suffix}")

    def digests(self) -> frozenset[bytes]:
        """The whole blobs."""
        names = [path.name for path in self._folder.iterdir()]
        return frozenset(bytes.fromhex(name) for name in names if _WHOLE.fullmatch(name))

    def unfinished(self) -> frozenset[bytes]:
        """The blobs that still grow, or that nobody went on with."""
        names = [path.stem for path in self._folder.glob("*.part")]
        return frozenset(bytes.fromhex(name) for name in names if _WHOLE.fullmatch(name))

    def size_bytes(self) -> int:
        """What all of it takes on the disk."""
        with os.scandir(self._folder) as entries:
            return sum(entry.stat().st_blocks * 512 for entry in entries)  # st_blocks: inode(7)

    def _whole(self, digest: bytes) -> tuple[Path, Manifest]:
        path, manifest = self.path(digest), self.manifest(digest)
        if path is None or manifest is None:
            raise WireError(NO_SUCH_BLOB(blob=_short(digest)))
        return path, manifest

    def _adopt(self, file: Path, manifest: Manifest) -> None:
        path = self._folder / blob_digest(manifest).hex()
        write_atomically(path.with_suffix(".manifest"), encode(manifest))
        disk.rename(file, path)


class PartialBlob:
    """A blob that grows chunk by chunk, in any order; holds no descriptor open between two calls."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        """Goes on where an earlier process stopped; see ``BlobFolder.open_partial``."""
        self.manifest = manifest
        self.digest = blob_digest(manifest)
        self._path = folder / self.digest.hex()
        self._part, self._bits = self._path.with_suffix(".part"), self._path.with_suffix(".have")
        self._unsynced: set[int] = set()
        count = len(manifest.chunks)
        with _translated(self._path):
            if self._path.exists():
                self._have = set(range(count))
            else:
                self._have = self._resume(count)

    @property
    def stored(self) -> int:
        """How many chunks are durable."""
        return len(self._have) - len(self._unsynced)

    @property
    def complete(self) -> bool:
        """Every chunk is here; ``finish`` makes the file."""
        return len(self._have) == len(self.manifest.chunks)

    def have(self, index: int) -> bool:
        """Whether the chunk was written; durable with the next sync."""
        return index in self._have

    def missing(self) -> list[int]:
        """The chunks that lack, in order."""
        return [index for index in range(len(self.manifest.chunks)) if index not in self._have]

    def write(self, index: int, data: bytes) -> bool:
        """Takes a chunk; False where it was here already.

        Raises:
            WireError: not a chunk of this blob; nothing was changed.
            StorageError: no space.
        """
        if not 0 <= index < len(self.manifest.chunks):
            raise WireError(NO_SUCH_CHUNK(blob=_short(self.digest), index=index))
        if index in self._have:
            return False
        if len(data) != (needed := chunk_size(self.manifest, index)):
            said = CHUNK_SIZE(index=index, blob=_short(self.digest), bytes=len(data), needed=needed)
            raise WireError(said)
        if hashlib.sha256(data).digest() != self.manifest.chunks[index]:
            raise WireError(CHUNK_DIGEST(index=index, blob=_short(self.digest)))
        with _translated(self._part), disk.opened(self._part, os.O_WRONLY) as descriptor:
            disk.write_at(descriptor, data, index * self.manifest.chunk_bytes)
        self._have.add(index)
        self._unsynced.add(index)
        if len(self._unsynced) >= SYNC_CHUNKS:
            self.sync()
        return True

    def sync(self) -> None:
        """What was written is durable.

        Raises:
            StorageError: the disk is full or broken.
        """
        if not self._unsynced:
            return
        bits = bytearray(-(-len(self.manifest.chunks) // 8))
        for index in self._have:
            bits[index // 8] |= 1 << index % 8
        try:
            with _translated(self._part):
                self._sync(bits)
        except StorageError:
            # What the kernel could not write it may have dropped (fsync(2)): these chunks are fetched again.
            self._have -= self._unsynced
            raise
        finally:
            self._unsynced.clear()

    def _sync(self, bits: bytearray) -> None:
        with disk.opened(self._part, os.O_WRONLY) as descriptor:
            disk.sync_contents(descriptor)
        is_new = not self._bits.exists()
        with disk.opened(self._bits, os.O_WRONLY | os.O_CREAT) as descriptor:
            disk.write_at(descriptor, bits, 0)
            disk.sync_contents(descriptor)
        if is_new:
            disk.sync_folder(self._bits.parent)

    def finish(self) -> Path:
        """The whole blob's file, durable under its digest.

        Raises:
            StorageError: a chunk lacks, or the file is not as long as it must be.
        """
        if self._path.exists():
            return self._path
        self.sync()
        with _translated(self._part):
            size = self._part.stat().st_size
            if not self.complete or size != self.manifest.size_bytes:
                needed = self.manifest.size_bytes
                raise StorageError(NOT_WHOLE(path=self._part, bytes=size, needed=needed))
            disk.sync_file(self._part)
            disk.rename(self._part, self._path)
            disk.remove(self._bits)
        return self._path

    def _resume(self, count: int) -> set[int]:
        if self._part.is_file() and self._part.stat().st_size == self.manifest.size_bytes:
            bits = b""
            if self._bits.is_file():
                disk.sync_file(self._bits)  # a process that was killed may have written them only
                bits = self._bits.read_bytes()
            bits = bits.ljust(-(-count // 8), b"\0")
            return {index for index in range(count) if bits[index // 8] >> index % 8 & 1}
        disk.remove(self._bits)
        write_atomically(self._path.with_suffix(".manifest"), encode(self.manifest))
        try:
            with disk.created(self._part) as file:
                disk.resize(file.descriptor, self.manifest.size_bytes)
                disk.allocate(file.descriptor, self.manifest.size_bytes)
                file.sync()
        except OSError:
            disk.remove(self._part)
            raise
        disk.sync_folder(self._part.parent)
        return set()


def read_at(path: Path, offset: int, size: int) -> bytes:
    """Exactly these bytes of a file.

    Raises:
        StorageError: the file is gone or shorter.
    """
    with _translated(path), disk.opened(path, os.O_RDONLY) as descriptor:
        data = os.pread(descriptor, size, offset)
    if len(data) != size:
        raise StorageError(ENDS_EARLY(path=path, end=offset + size))
    return data


def _delete_unless_locked(path: Path) -> None:
    with suppress(BlockingIOError), path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        disk.remove(path)


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        condition = NO_SPACE if error.errno in FULL else CANNOT_USE
        raise storage_error(error, condition(path=path, reason=error.strerror)) from error


def _short(digest: bytes) -> str:
    return digest.hex()[:12]
