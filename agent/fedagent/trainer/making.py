# SPDX-License-Identifier: Apache-2.0
"""Makes a dataset's next snapshot from its sources.

Rule: until the store has it, everything is below one work folder, readable by us only and removed whatever happens;
what a killed run left there is removed by the next. One run a dataset at a time.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime
from pathlib import Path

import duckdb
import msgspec

from fedagent.conditions.data import NO_ROWS_LEFT, ROWS_NOT_WORKED_ON, SNAPSHOT_BUSY, SOURCES_EMPTY
from fedagent.errors import DataError, StorageError
from fedagent.storage.files import make_private_folder
from fedagent.trainer import staging
from fedagent.trainer.datasets import CsvSource, DatasetDefinition, PostgresqlSource, definition_digest
from fedagent.trainer.engine import open_engine
from fedagent.trainer.postgresql import PostgresqlTable
from fedagent.trainer.pseudonyms import pseudonym_key
from fedagent.trainer.snapshots import SnapshotNote, SnapshotRecord, SnapshotStore
from fedagent.trainer.sources import OpenFile, Relation, csv_relation, parquet_relation, reading_failed


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot, and how it came about.

    Attributes:
        evicted: files of earlier ones that were removed, oldest first.
    """

    record: SnapshotRecord
    changed: bool
    counts: staging.Counts
    evicted: tuple[Path, ...]


def make_snapshot(state: Path, definition: DatasetDefinition, now: datetime, *, budget_bytes: int) -> Made:
    """The dataset's snapshot of its sources as they are now; the current one from here on.

    Args:
        state: the trainer's state folder.
        budget_bytes: what all snapshots may take there; earlier ones make room for newer ones.

    Raises:
        ConfigurationError: the definition does not fit its sources.
        DataError: the rows do not fit the definition, or cannot be read.
        StorageError: no space, no permission, or another run is at it.
    """
    store = SnapshotStore(state / "snapshots")
    key = pseudonym_key(state)
    before = store.current(definition.name)
    with _work_folder(store.dataset_folder(definition.name), definition.name) as work:
        try:
            table, counts, content = _build(definition, key, work)
        except duckdb.Error:
            raise StorageError(ROWS_NOT_WORKED_ON(folder=work.parent)) from None
        note = SnapshotNote(
            rows=content.rows,
            patients=content.patients,
            columns=staging.snapshot_columns(definition),
            created_at=now.isoformat(timespec="seconds"),
            sources=tuple(str(source.__struct_config__.tag) for source in definition.source),
            definition=definition_digest(definition).hex(),
        )
        record = store.put(definition.name, content.digest, table=table, note=note)
        evicted = store.stay_in_budget(budget_bytes)
    changed = before is None or before.digest != record.digest
    return Made(record=record, changed=changed, counts=counts, evicted=evicted)


def _build(
    definition: DatasetDefinition, key: bytes, work: Path
) -> tuple[Path, staging.Counts, staging.Content]:
    """The Parquet file in the work folder, what became of the rows, and what is in it."""
    with ExitStack() as stack:
        files = {
            index: stack.enter_context(closing(OpenFile(source.path)))
            for index, source in enumerate(definition.source)
            if not isinstance(source, PostgresqlSource)
        }
        engine = stack.enter_context(
            closing(open_engine(files=[file.engine_path for file in files.values()], work=work))
        )
        staging.load_opt_out(engine, definition)
        staging.make_work_table(engine, definition)
        for index, source in enumerate(definition.source):
            if isinstance(source, PostgresqlSource):
                _stage_query(engine, definition, index, source)
            else:
                _stage_file(engine, definition, index, files[index])
        counts = staging.counts(engine)
        if counts.kept == 0:
            left_out = counts.opted_out or counts.without_patient
            raise DataError((NO_ROWS_LEFT if left_out else SOURCES_EMPTY)(dataset=definition.name))
        staging.check_values(engine, definition)
        table = work / "table.parquet"
        staging.write_table(engine, definition, key, table)
        return table, counts, staging.table_content(engine, staging.snapshot_columns(definition), table)


def _stage_file(
    engine: duckdb.DuckDBPyConnection, definition: DatasetDefinition, index: int, file: OpenFile
) -> None:
    source = definition.source[index]
    relation = csv_relation(source, file) if isinstance(source, CsvSource) else parquet_relation(file, engine)
    staging.check_columns(definition, relation, file.path)
    try:
        staging.stage(engine, definition, index, relation)
    except duckdb.Error as error:
        raise reading_failed(error, file.path, len(relation.columns)) from None


def _stage_query(
    engine: duckdb.DuckDBPyConnection, definition: DatasetDefinition, index: int, source: PostgresqlSource
) -> None:
    with closing(PostgresqlTable(source)) as table:
        staging.check_columns(definition, Relation("", dict.fromkeys(table.columns, "")), source.title)
        wanted = definition.local_columns
        names = {name: f"__p{place}" for place, name in enumerate(wanted)}
        unnested = ", ".join(f"unnest(${name}::VARCHAR[]) AS {name}" for name in names.values())
        relation = Relation(f"(SELECT {unnested})", names)
        first_row = 1
        for rows in table.batches(wanted):
            values = {
                name: list(texts) for name, texts in zip(names.values(), zip(*rows, strict=True), strict=True)
            }
            staging.stage(engine, definition, index, relation, batch=staging.Batch(values, first_row))
            first_row += len(rows)


@contextmanager
def _work_folder(folder: Path, dataset: str) -> Iterator[Path]:
    """An empty folder that is ours alone until the block ends, then gone.

    Raises:
        StorageError: another run has it.
    """
    work = make_private_folder(folder / ".work")
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(work)
        try:
            yield make_private_folder(work)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except BlockingIOError as error:
        raise StorageError(SNAPSHOT_BUSY(dataset=dataset)) from error
    finally:
        os.close(descriptor)
