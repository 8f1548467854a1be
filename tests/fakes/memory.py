# SPDX-License-Identifier: Apache-2.0
"""Disks in memory: what a process made durable is still there when the next one opens it, and nothing else is.

The databases are real SQLite. A blob's chunk is a token of a few bytes that stands for its 64 KiB: digests are checked, sizes
are only declared.
"""

import hashlib
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from typing_extensions import override

from fedagent.aggregator.models import Models, Published
from fedagent.aggregator.schema import SCHEMA as AGGREGATOR_SCHEMA
from fedagent.aggregator.store import Store
from fedagent.conditions.condition import Said
from fedagent.errors import WireError
from fedagent.security.blob import ciphertext_bytes
from fedagent.site.store import _SCHEMA as SITE_SCHEMA
from fedagent.storage.blobs import SYNC_CHUNKS, BlobFolder, PartialBlob
from fedagent.storage.database import Database
from fedagent.storage.failpoints import Failpoint
from fedagent.trainer.rounds import RoundEntry, RoundFile, RoundLedger
from fedagent.wire.codec import encode
from fedagent.wire.manifest import Manifest, blob_digest, chunk_count
from fedagent.wire.messages import Announcement, ModelReference
from fedagent.wire.study import Study, model_shapes, study_digest
from fedagent.wire.tensors import file_bytes


class MemoryDatabase(Database):
    """Dying leaves what was committed; the connection itself is what survives."""

    def __init__(self, schema: str, *, before: Failpoint, after: Failpoint) -> None:
        self._before, self._after = before, after
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.connection.deserialize(_template(schema))
        self.connection.execute("PRAGMA foreign_keys=ON")

    def died(self) -> None:
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")


_TEMPLATES: Final[dict[str, bytes]] = {}


def _template(schema: str) -> bytes:
    if schema not in _TEMPLATES:
        connection = sqlite3.connect(":memory:")
        connection.executescript(schema)
        _TEMPLATES[schema] = connection.serialize()
        connection.close()
    return _TEMPLATES[schema]


def site_database() -> MemoryDatabase:
    return MemoryDatabase(SITE_SCHEMA, before=Failpoint.SITE_BEFORE_COMMIT, after=Failpoint.SITE_AFTER_COMMIT)


def aggregator_database() -> MemoryDatabase:
    return MemoryDatabase(
        AGGREGATOR_SCHEMA,
        before=Failpoint.AGGREGATOR_BEFORE_COMMIT,
        after=Failpoint.AGGREGATOR_AFTER_COMMIT,
    )


class MemoryStore(Store):
    """The aggregator's store over a database that is open already."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._connection = database.connection


class Disk:
    """A folder of blobs: which chunks are durable, and which blobs are whole."""

    def __init__(self) -> None:
        self.manifests: dict[bytes, Manifest] = {}
        self.chunks: dict[bytes, dict[int, bytes]] = {}
        self.whole: dict[bytes, tuple[bytes, ...]] = {}


class MemoryBlobs(BlobFolder):
    """A ``BlobFolder`` on such a disk.

    Args:
        durable: called before and after something becomes durable.
    """

    def __init__(self, disk: Disk, durable: Callable[[], None]) -> None:
        self.disk, self.durable = disk, durable

    @override
    def path(self, digest: bytes) -> Path | None:
        return Path(digest.hex()) if digest in self.disk.whole else None

    @override
    def manifest(self, digest: bytes) -> Manifest | None:
        return self.disk.manifests.get(digest)

    @override
    def read_manifest(self, digest: bytes) -> bytes:
        if digest not in self.disk.whole:
            raise WireError(Said("", f"there is no blob {digest.hex()[:12]}"))
        return encode(self.disk.manifests[digest])

    @override
    def read_chunk(self, digest: bytes, index: int) -> bytes:
        if digest not in self.disk.whole:
            raise WireError(Said("", f"there is no blob {digest.hex()[:12]}"))
        return self.disk.whole[digest][index]

    @override
    def open_partial(self, manifest: Manifest) -> PartialBlob:
        return MemoryPartial(self, manifest)

    @override
    def add_file(self, chunks: Iterable[bytes], chunk_bytes: int) -> Manifest:
        raise NotImplementedError

    def add(self, tokens: tuple[bytes, ...], manifest: Manifest) -> None:
        """The blob is whole and durable."""
        self.durable()
        self.disk.manifests[blob_digest(manifest)] = manifest
        self.disk.whole[blob_digest(manifest)] = tokens
        self.durable()

    @override
    def delete(self, digest: bytes) -> None:
        for kept in (self.disk.manifests, self.disk.chunks, self.disk.whole):
            kept.pop(digest, None)

    @override
    def digests(self) -> frozenset[bytes]:
        return frozenset(self.disk.whole)

    @override
    def unfinished(self) -> frozenset[bytes]:
        return frozenset(self.disk.chunks)


class MemoryPartial(PartialBlob):
    """A blob that grows; what was not synced is lost with the process."""

    def __init__(self, blobs: MemoryBlobs, manifest: Manifest) -> None:
        self.manifest, self.digest, self._blobs = manifest, blob_digest(manifest), blobs
        disk = blobs.disk
        if self.digest in disk.whole:
            self._here = dict(enumerate(disk.whole[self.digest]))
        else:
            disk.manifests[self.digest] = manifest
            self._here = dict(disk.chunks.setdefault(self.digest, {}))
        self._have, self._unsynced = set(self._here), set()

    @override
    def write(self, index: int, data: bytes) -> bool:
        if not 0 <= index < len(self.manifest.chunks):
            raise WireError(Said("", f"no chunk {index}"))
        if index in self._have:
            return False
        if hashlib.sha256(data).digest() != self.manifest.chunks[index]:
            raise WireError(Said("", f"chunk {index} is not what its manifest says"))
        self._here[index] = data
        self._have.add(index)
        self._unsynced.add(index)
        if len(self._unsynced) >= SYNC_CHUNKS:
            self.sync()
        return True

    @override
    def sync(self) -> None:
        self._blobs.durable()
        self._blobs.disk.chunks[self.digest] = dict(self._here)
        self._unsynced.clear()
        self._blobs.durable()

    @override
    def finish(self) -> Path:
        disk = self._blobs.disk
        if self.digest not in disk.whole:
            self.sync()
            assert self.complete
            disk.whole[self.digest] = tuple(self._here[index] for index in range(len(self._here)))
            del disk.chunks[self.digest]
            self._blobs.durable()
        return Path(self.digest.hex())


def tokens_of(study: Study, text: str) -> tuple[tuple[bytes, ...], Manifest]:
    """A blob of the size that the study's models have, which says what it is."""
    size = ciphertext_bytes(file_bytes(model_shapes(study.task)), study.chunk_bytes)
    tokens = tuple(f"{text} #{index}".encode() for index in range(chunk_count(size, study.chunk_bytes)))
    digests = tuple(hashlib.sha256(token).digest() for token in tokens)
    return tokens, Manifest(size_bytes=size, chunk_bytes=study.chunk_bytes, chunks=digests)


class MemoryModels(Models):
    """Global models as tokens; plaintexts on the disk by their digest."""

    def __init__(self, blobs: MemoryBlobs, plaintexts: set[bytes]) -> None:
        self._blobs: MemoryBlobs = blobs
        self.plaintexts = plaintexts

    @override
    def path(self, plaintext: bytes) -> Path:
        return Path(plaintext.hex())

    @override
    def velocity(self, study: str, number: int) -> Path:
        return Path(f"{study}.{number}.velocity")

    def make(self, study: Study, plaintext: bytes, key: bytes) -> Published:
        """The model, durable and published under a fresh key."""
        self.plaintexts.add(plaintext)
        tokens, manifest = tokens_of(study, f"model {plaintext.hex()} under {key.hex()}")
        self._blobs.add(tokens, manifest)
        reference = ModelReference(
            blob=blob_digest(manifest),
            size_bytes=manifest.size_bytes,
            chunk_bytes=study.chunk_bytes,
            plaintext=plaintext,
        )
        return Published(reference=reference, manifest=manifest, key=key)

    @override
    def size_bytes(self) -> int:
        """Nothing: this disk has no end."""
        return 0

    @override
    def retire(self, study: str, number: int, blob: bytes) -> None:
        self._blobs.delete(blob)

    @override
    def sweep(self, *, plaintexts: set[bytes], blobs: set[bytes], velocities: set[Path]) -> None:
        assert plaintexts <= self.plaintexts
        self.plaintexts &= plaintexts
        for digest in self._blobs.digests() - blobs:
            self._blobs.delete(digest)


class MemoryLedger(RoundLedger):
    """The supervisor's rounds; the object is the disk."""

    def __init__(self) -> None:
        self._file = RoundFile()

    @override
    def _write(self, announcement: Announcement, *, work: str, sealed: bool) -> None:
        study = announcement.study
        entry = RoundEntry(study=study.name, round=announcement.round, work=work, sealed=sealed)
        self._file = RoundFile(rounds=self._file.rounds | {study_digest(study).hex(): entry})
