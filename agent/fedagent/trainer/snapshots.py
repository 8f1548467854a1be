# SPDX-License-Identifier: Apache-2.0
"""The store of snapshots: immutable versions of the datasets, each named by the digest of its content.

Rule: a snapshot's file never changes once its digest is known; which one is current is one small file, replaced
atomically. Columns are the study's (DOUBLE, VARCHAR, BOOLEAN; NULL is "not known") in the order of their names, then
``__patient`` (a keyed hash) and ``__split`` (``train``, ``test`` or NULL). Rows stand in the order of ``__patient``.
No row is read here (``trainer.rows``), so that the supervisor holds neither DuckDB nor what it needs.
"""

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

import msgspec

from fedagent.conditions.data import (
    SNAPSHOT_DAMAGED,
    SNAPSHOT_NOT_STORED,
    SNAPSHOT_VANISHED,
)
from fedagent.conditions.files import TRAINER_CANNOT_READ
from fedagent.errors import StorageError
from fedagent.storage import disk
from fedagent.storage.failpoints import Failpoint, reach
from fedagent.storage.files import make_private_folder, write_atomically
from fedagent.storage.versions import refuse_newer
from fedagent.trainer.datasets import ColumnType

PATIENT: Final = "__patient"
SPLIT: Final = "__split"
VERSION: Final = 1
"""Of the notes, and of what the files beside them hold."""


class SnapshotColumn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A study column as it is stored."""

    name: str
    type: ColumnType


class SnapshotNote(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The file ``<digest>.json`` beside a snapshot: what people and the check need to know of it.

    Attributes:
        created_at: ISO 8601, UTC.
        definition: SHA-256 of the dataset's definition as it was, hexadecimal.
    """

    rows: int
    patients: int
    columns: tuple[SnapshotColumn, ...]
    created_at: str
    sources: tuple[str, ...]
    definition: str
    version: Literal[1] = VERSION


class SnapshotRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One snapshot of the store.

    Attributes:
        digest: of the content, 32 bytes: the same rows in any order have the same.
        path: the Parquet file, readable by its owner only.
    """

    dataset: str
    digest: bytes
    path: Path
    note: SnapshotNote

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return self.note.rows

    @property
    def columns(self) -> tuple[SnapshotColumn, ...]:
        """The study columns in the order in which they are stored."""
        return self.note.columns

    @property
    def created_at(self) -> datetime:
        """When it was made, with its time zone."""
        return datetime.fromisoformat(self.note.created_at)


class SnapshotStore:
    """The folder ``snapshots/`` of the trainer's state: one folder a dataset."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def current(self, dataset: str) -> SnapshotRecord | None:
        """The dataset's current snapshot, or None where none was made yet.

        Raises:
            StorageError: its files are damaged or not readable.
        """
        pointer = self._folder / dataset / "current"
        try:
            name = pointer.read_text(encoding="ascii").strip()
            digest = bytes.fromhex(name)
            beside = pointer.with_name(f"{name}.json")
            data = beside.read_bytes()
            refuse_newer(beside, data, VERSION)
            note = msgspec.json.decode(data, type=SnapshotNote)
        except FileNotFoundError as error:
            if Path(error.filename) == pointer:
                return None
            raise StorageError(SNAPSHOT_DAMAGED(dataset=dataset)) from error
        except OSError as error:
            raise StorageError(TRAINER_CANNOT_READ(path=error.filename, reason=error.strerror)) from error
        except (ValueError, msgspec.MsgspecError) as error:
            raise StorageError(SNAPSHOT_DAMAGED(dataset=dataset)) from error
        return SnapshotRecord(
            dataset=dataset, digest=digest, path=pointer.with_name(f"{name}.parquet"), note=note
        )

    def all(self) -> tuple[SnapshotRecord, ...]:
        """The current snapshot of every dataset that has one, in the order of their names.

        Raises:
            StorageError: the folder or a snapshot is not readable.
        """
        try:
            folders = list(self._folder.iterdir()) if self._folder.exists() else []
            names = sorted(each.name for each in folders if each.is_dir())
        except OSError as error:
            raise StorageError(TRAINER_CANNOT_READ(path=self._folder, reason=error.strerror)) from error
        return tuple(record for record in map(self.current, names) if record is not None)

    def dataset_folder(self, dataset: str) -> Path:
        """The folder of the dataset's snapshots, made if need be.

        Raises:
            StorageError: it cannot be made.
        """
        return make_private_folder(make_private_folder(self._folder) / dataset)

    def put(self, dataset: str, digest: bytes, *, table: Path, note: SnapshotNote) -> SnapshotRecord:
        """The table is the dataset's current snapshot, durably; where these rows were there already, their file stays.

        Args:
            table: a Parquet file on the store's file system; it is moved away.

        Raises:
            StorageError: no space, no permission; the current snapshot is what it was.
        """
        folder = self.dataset_folder(dataset)
        stored, beside = folder / f"{digest.hex()}.parquet", folder / f"{digest.hex()}.json"
        try:
            if not stored.exists():
                table.chmod(0o400)
                disk.sync_file(table)
                disk.rename(table, stored)
            write_atomically(beside, msgspec.json.format(msgspec.json.encode(note)), mode=0o400)
            reach(Failpoint.SNAPSHOT_WRITTEN)
            write_atomically(folder / "current", f"{digest.hex()}\n".encode("ascii"))
        except OSError as error:
            raise StorageError(SNAPSHOT_NOT_STORED(folder=folder, reason=error.strerror)) from error
        record = self.current(dataset)
        if record is None:
            raise StorageError(SNAPSHOT_VANISHED(dataset=dataset, folder=folder))
        return record

    def stay_in_budget(self, budget_bytes: int) -> tuple[Path, ...]:
        """Earlier snapshots' rows go, oldest first, until all that are left stay in the budget; gives the files that went.

        Never the current one of a dataset, from which every job is given; a job under way has its file open. What a snapshot
        was (``<digest>.json``) stays.
        """
        kept = {record.path for record in self._readable()}
        names = {path.parent for path in kept}
        files = [path for path in self._folder.glob("*/*.parquet") if path.parent in names]
        over = sum(path.stat().st_size for path in files) - budget_bytes
        gone = []
        for path in sorted(files, key=lambda path: path.stat().st_mtime):
            if over > 0 and path not in kept:
                over -= path.stat().st_size
                disk.remove(path)
                gone.append(path)
        return tuple(gone)

    def _readable(self) -> Iterator[SnapshotRecord]:
        """The current snapshots; of a dataset whose pointer is damaged nobody knows which one is."""
        for folder in self._folder.iterdir() if self._folder.exists() else ():
            with suppress(StorageError):
                record = self.current(folder.name)
                if record is not None:
                    yield record
