# SPDX-License-Identifier: Apache-2.0
"""Global models on disk: the plaintext under its digest for people, the encrypted blob for sites.

Rule: a model's file is named by its SHA-256 and never changes; its blob has a key of its own, made anew each time it is
published. What no row of the store names is left over from a crash and may go.
"""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from fedagent.aggregator.store import ModelRecord
from fedagent.conditions.files import CANNOT_EXPORT, DAMAGED, RESTORE
from fedagent.errors import StorageError
from fedagent.security.blob import TAG_BYTES, BlobCipher, new_blob_key
from fedagent.storage import disk
from fedagent.storage.blobs import BlobFolder
from fedagent.storage.failpoints import Failpoint, reach
from fedagent.storage.files import make_private_folder, not_written
from fedagent.storage.room import require
from fedagent.wire.manifest import Manifest, blob_digest
from fedagent.wire.messages import ModelReference

SUFFIX: Final = ".safetensors"
_PART: Final = ".part"
_READ_BYTES: Final = 1_048_576
_PUBLIC_MODE: Final = 0o666
"""Of a file that a person asked for: less the umask."""


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """A model that sites can fetch."""

    reference: ModelReference
    manifest: Manifest
    key: bytes

    def record(self, study: str, number: int, made_at: float) -> ModelRecord:
        """The row of the store that makes it count."""
        return ModelRecord(
            study=study,
            number=number,
            reference=self.reference,
            manifest=self.manifest,
            key=self.key,
            made_at=made_at,
        )


class Models:
    """The folder of models beside the folder of their blobs."""

    def __init__(self, folder: Path, blobs: BlobFolder, *, reserve_bytes: int = 0) -> None:
        """Makes the folder where it lacks.

        Args:
            reserve_bytes: a model is made only where so much stays free on the disk after it.

        Raises:
            StorageError: it cannot be made.
        """
        self._folder = make_private_folder(folder)
        self._blobs, self._reserve_bytes = blobs, reserve_bytes

    def path(self, plaintext: bytes) -> Path:
        """Where the model with this digest lies."""
        return self._folder / f"{plaintext.hex()}{SUFFIX}"

    def require(self, size_bytes: int) -> None:
        """Nothing, where so much more can be kept here.

        Raises:
            NoSpaceError: it cannot.
        """
        require(self._folder, size_bytes, reserve_bytes=self._reserve_bytes)

    def draft(self, name: str) -> Path:
        """Where a file may be written before it is adopted."""
        return self._folder / f".{name}{_PART}"

    def velocity(self, study: str, number: int) -> Path:
        """Where the server's momentum after that round lies."""
        return self._folder / f"{study}.{number}.velocity"

    def write(self, name: str, pieces: Iterable[bytes]) -> bytes:
        """A new model from its bytes; gives its digest.

        Raises:
            StorageError: no space.
        """
        draft = self.draft(name)
        try:
            with disk.created(draft) as file:
                for piece in pieces:
                    file.write(piece)
                file.sync()
        except OSError as error:
            disk.remove(draft)
            raise not_written(error, draft) from error
        return self.adopt(draft)

    def adopt(self, draft: Path) -> bytes:
        """The durable draft becomes a model; gives its digest."""
        digest = hashlib.sha256()
        for piece in _pieces(draft, _READ_BYTES):
            digest.update(piece)
        disk.rename(draft, self.path(digest.digest()))
        reach(Failpoint.AGGREGATOR_MODEL_FOLDED)
        return digest.digest()

    def publish(self, plaintext: bytes, chunk_bytes: int) -> Published:
        """The model as a blob under a fresh key.

        Raises:
            StorageError: no space.
        """
        path = self.path(plaintext)
        key = new_blob_key()
        manifest = self._blobs.add_file(_encrypted(path, key, chunk_bytes), chunk_bytes)
        reference = ModelReference(
            blob=blob_digest(manifest),
            size_bytes=manifest.size_bytes,
            chunk_bytes=chunk_bytes,
            plaintext=plaintext,
        )
        return Published(reference=reference, manifest=manifest, key=key)

    def export(self, plaintext: bytes, target: Path) -> int:
        """The model's bytes, checked, durably in that file; gives their number.

        Raises:
            StorageError: the model is damaged, or the file cannot be written.
        """
        draft = target.with_name(f".{target.name}{_PART}")
        digest, size = hashlib.sha256(), 0
        try:
            with disk.created(draft, mode=_PUBLIC_MODE) as file:
                for piece in _pieces(self.path(plaintext), _READ_BYTES):
                    digest.update(piece)
                    file.write(piece)
                    size += len(piece)
                file.sync()
            if digest.digest() != plaintext:
                raise StorageError(DAMAGED(path=self.path(plaintext)))
            disk.rename(draft, target)
        except OSError as error:
            raise StorageError(CANNOT_EXPORT(path=target, reason=error.strerror)) from error
        finally:
            disk.remove(draft)
        return size

    def retire(self, study: str, number: int, blob: bytes) -> None:
        """No site needs this model any more: its blob and momentum go, its plaintext stays."""
        self._blobs.delete(blob)
        disk.remove(self.velocity(study, number))

    def has(self, plaintext: bytes) -> bool:
        """Whether the model's file is here."""
        return self.path(plaintext).exists()

    def forget(self, plaintext: bytes) -> int:
        """The model's file is gone; gives how many bytes it had."""
        size = self.path(plaintext).stat().st_size
        disk.remove(self.path(plaintext))
        return size

    def size_bytes(self) -> int:
        """What all models' files have."""
        return sum(path.stat().st_size for path in self._folder.glob(f"*{SUFFIX}"))

    def sweep(self, *, plaintexts: set[bytes], blobs: set[bytes], velocities: set[Path]) -> None:
        """Deletes everything but these: what a process that died left behind."""
        keep = velocities | {self.path(each) for each in plaintexts}
        for path in self._folder.iterdir():
            if path not in keep:
                disk.remove(path)
        for digest in self._blobs.digests():
            if digest not in blobs:
                self._blobs.delete(digest)


def _pieces(path: Path, size: int) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while piece := file.read(size):
                yield piece
    except OSError as error:
        raise StorageError(RESTORE(path=path, reason=error.strerror)) from error


def _encrypted(path: Path, key: bytes, chunk_bytes: int) -> Iterator[bytes]:
    cipher, plain = BlobCipher(key), chunk_bytes - TAG_BYTES
    count = -(-path.stat().st_size // plain)
    for index, piece in enumerate(_pieces(path, plain)):
        yield cipher.encrypt(index, last=index == count - 1, chunk=piece)
