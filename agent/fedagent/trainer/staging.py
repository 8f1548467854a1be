# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: S608 (SQL is put together here; every name and text in it went through quoted_name or quoted_text)
"""Rows of all sources in one work table, then one Parquet file with its digest.

Rule: a row of a patient on the opt-out list is not written, not even to the work table; the digest depends on the
rows, not on their order, nor on how DuckDB writes a file. Nothing here puts a value into a message.
"""

import hashlib
from pathlib import Path
from typing import Final, assert_never

import duckdb
import msgspec

from fedagent.conditions.condition import Condition
from fedagent.conditions.data import (
    NOT_BOOLEANS,
    NOT_NUMBERS,
    OPT_OUT_NOT_READABLE,
    OPT_OUT_NOT_UTF8,
    UNLISTED_CODES,
)
from fedagent.errors import ConfigurationError, DataError
from fedagent.trainer.datasets import ColumnMapping, DatasetDefinition
from fedagent.trainer.engine import quoted_name, quoted_text
from fedagent.trainer.mapping import local_sql, text_sql, value_sql, wrong_sql
from fedagent.trainer.pseudonyms import hmac_sql
from fedagent.trainer.small_counts import few
from fedagent.trainer.snapshots import PATIENT, SPLIT, SnapshotColumn
from fedagent.trainer.sources import Relation

_BATCH: Final = 10_000
_SOURCE, _ROW, _LEFT_OUT = "__source", "__row", "__left_out"  # no study's column is called so
FORMAT: Final = 1
"""Of the digest: counts up when the canonical form of a row changes."""


class Batch(msgspec.Struct, frozen=True):
    """Rows in memory: each column's texts by the name of the parameter, and the number of the first row."""

    values: dict[str, list[str | None]]
    first_row: int


class Counts(msgspec.Struct, frozen=True):
    """What became of the rows of all sources."""

    kept: int
    opted_out: int
    without_patient: int


class Content(msgspec.Struct, frozen=True):
    """What a snapshot's file holds: the digest that names it, 32 bytes, its rows and the patients that they are of."""

    digest: bytes
    rows: int
    patients: int


def load_opt_out(engine: duckdb.DuckDBPyConnection, definition: DatasetDefinition) -> None:
    """The table of those who opted out: one identifier a line, ``#`` begins a comment.

    Raises:
        ConfigurationError: the list cannot be read (and then no snapshot is made).
    """
    engine.execute("CREATE TEMP TABLE opted_out (id VARCHAR)")
    if definition.opt_out is None:
        return
    try:
        lines = Path(definition.opt_out).read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise ConfigurationError(
            OPT_OUT_NOT_READABLE(path=definition.opt_out, reason=error.strerror)
        ) from error
    except UnicodeDecodeError:
        raise ConfigurationError(OPT_OUT_NOT_UTF8(path=definition.opt_out)) from None
    identifiers = [line.partition("#")[0].strip() for line in lines]
    same = _same_patient_sql(text_sql("id"))
    engine.execute(
        f"INSERT INTO opted_out SELECT DISTINCT {same} FROM (SELECT unnest($ids::VARCHAR[]) AS id)",
        {"ids": [identifier for identifier in identifiers if identifier]},
    )


def make_work_table(engine: duckdb.DuckDBPyConnection, definition: DatasetDefinition) -> None:
    """The empty table ``staged``: where a row was, why it is left out (then it holds nothing else), and its texts."""
    texts = "".join(f", {quoted_name(name)} VARCHAR" for name in definition.sorted_columns)
    engine.execute(
        f"CREATE TABLE staged ({_SOURCE} INTEGER, {_ROW} BIGINT, {_LEFT_OUT} VARCHAR, {PATIENT} VARCHAR, {SPLIT} VARCHAR{texts})"
    )


def check_columns(definition: DatasetDefinition, relation: Relation, where: str) -> None:
    """Nothing, where the source has every column that the definition asks for.

    Raises:
        ConfigurationError: the first that is not there.
    """
    if definition.patient is not None:
        relation.require(definition.patient, where, "patient")
    for name in definition.columns:
        relation.require(definition.local_name(name), where, f"columns.{name}")


def stage(
    engine: duckdb.DuckDBPyConnection,
    definition: DatasetDefinition,
    index: int,
    relation: Relation,
    *,
    batch: Batch | None = None,
) -> None:
    """Copies the rows of a source into the work table.

    Args:
        index: of the source in the definition.
        batch: the rows, where the relation only names their columns.

    Raises:
        duckdb.Error: the source cannot be read; its text may hold values.
    """
    source = definition.source[index]
    texts = [
        f"{local_sql(relation.columns[definition.local_name(name)], source, definition.columns[name].type)}"
        f" AS {quoted_name(name)}"
        for name in definition.sorted_columns
    ]
    patient = "CAST(NULL AS VARCHAR)"
    if definition.patient is not None:
        patient = text_sql(relation.columns[definition.patient])
    split = "NULL" if source.split is None else quoted_text(source.split)
    kept = [
        f"CASE WHEN {_LEFT_OUT} IS NULL THEN {name} END"
        for name in map(quoted_name, (PATIENT, *definition.sorted_columns))
    ]
    before = 0 if batch is None else batch.first_row - 1
    engine.execute(
        f"INSERT INTO staged SELECT {index}, {_ROW}, {_LEFT_OUT}, {kept[0]}, {split}, {', '.join(kept[1:])} FROM ("
        f"SELECT *, {_left_out_sql(definition)} AS {_LEFT_OUT} FROM ("
        f"SELECT row_number() OVER () + {before} AS {_ROW}, {patient} AS {PATIENT}, {', '.join(texts)}"
        f" FROM {relation.sql}))",
        {} if batch is None else batch.values,
    )


def _left_out_sql(definition: DatasetDefinition) -> str:
    """Why a row is left out, NULL where it is kept."""
    if definition.patient is None:
        return "CAST(NULL AS VARCHAR)"
    return (
        f"CASE WHEN {PATIENT} IS NULL THEN 'no-patient' "
        f"WHEN {_same_patient_sql(PATIENT)} IN (SELECT id FROM opted_out) THEN 'opt-out' END"
    )


def counts(engine: duckdb.DuckDBPyConnection) -> Counts:
    """What became of the rows."""
    row = engine.execute(
        f"SELECT count(*) FILTER ({_LEFT_OUT} IS NULL), count(*) FILTER ({_LEFT_OUT} = 'opt-out'), "
        f"count(*) FILTER ({_LEFT_OUT} = 'no-patient') FROM staged"
    ).fetchone()
    return Counts(*row) if row else Counts(0, 0, 0)


def check_values(engine: duckdb.DuckDBPyConnection, definition: DatasetDefinition) -> None:
    """Nothing, where every text is missing or fits its column's mapping.

    Raises:
        DataError: the first column that does not fit, with its source and first row.
    """
    aggregates = []
    for name in definition.sorted_columns:
        wrong = wrong_sql(quoted_name(name), definition.columns[name])
        aggregates += [f"count(*) FILTER ({wrong})", f"min({_ROW}) FILTER ({wrong})"]
    found = engine.execute(
        f"SELECT {_SOURCE}, {', '.join(aggregates)} FROM staged WHERE {_LEFT_OUT} IS NULL GROUP BY 1 ORDER BY 1"
    ).fetchall()
    for source, *numbers in found:
        for name, count, row in zip(definition.sorted_columns, numbers[::2], numbers[1::2], strict=True):
            if count:
                condition, title = _wrong(definition.columns[name]), definition.source[source].title
                raise DataError(condition(column=name, rows=few(count), source=title, row=row))


def write_table(
    engine: duckdb.DuckDBPyConnection, definition: DatasetDefinition, key: bytes, path: Path
) -> None:
    """Writes the snapshot's Parquet file, sorted by patient and content.

    Args:
        key: of the pseudonyms.

    Raises:
        ConfigurationError: a mapped value is not of its column's type.
        duckdb.Error: no space; its text may hold values.
    """
    columns = [
        f"{value_sql(quoted_name(name), definition.columns[name], f'columns.{name}')} AS {quoted_name(name)}"
        for name in definition.sorted_columns
    ]
    names = ", ".join(map(quoted_name, definition.sorted_columns))
    content = row_sql(snapshot_columns(definition))
    # A row without a patient is a patient by its content (and number, where rows are equal): order makes no difference.
    patient = PATIENT
    if definition.patient is None:
        patient = f"({content}) || '#' || row_number() OVER (PARTITION BY {content})"
    engine.execute(
        f"COPY (SELECT {names}, {PATIENT}, {SPLIT} FROM ("
        f"SELECT {names}, {hmac_sql(key, patient)} AS {PATIENT}, {SPLIT} FROM ("
        f"SELECT {', '.join(columns)}, {PATIENT}, {SPLIT} FROM staged WHERE {_LEFT_OUT} IS NULL)"
        f") ORDER BY {PATIENT}, sha256({content})) TO {quoted_text(str(path))} (FORMAT parquet, COMPRESSION zstd)"
    )


def table_content(
    engine: duckdb.DuckDBPyConnection, columns: tuple[SnapshotColumn, ...], path: Path
) -> Content:
    """What is in a snapshot's file.

    The digest is SHA-256 over the columns' canonical MessagePack form, then each row's own SHA-256 in hexadecimal.
    """
    digest = hashlib.sha256(msgspec.msgpack.encode((FORMAT, columns), order="deterministic"))
    row = f"sha256({PATIENT} || ';' || {row_sql(columns)})"
    cursor = engine.execute(f"SELECT {row}, {PATIENT} FROM read_parquet({quoted_text(str(path))})")
    rows = patients = 0
    last = None
    while batch := cursor.fetchmany(_BATCH):
        digest.update("".join(text for text, _ in batch).encode("ascii"))
        rows += len(batch)
        for _, patient in batch:  # Rows of one patient stand together.
            patients, last = patients + (patient != last), patient
    return Content(digest.digest(), rows, patients)


def snapshot_columns(definition: DatasetDefinition) -> tuple[SnapshotColumn, ...]:
    """The study columns as they are stored."""
    return tuple(SnapshotColumn(name, definition.columns[name].type) for name in definition.sorted_columns)


def row_sql(columns: tuple[SnapshotColumn, ...]) -> str:
    """A row's canonical text, its patient left out: no two different rows share one.

    ``%.17g`` is exact for a double (IEEE 754, 5.12.2) and means the same in every release; -0 is 0.
    """
    parts = [f"coalesce({SPLIT}, '') || ';'"]
    for column in columns:
        name = quoted_name(column.name)
        match column.type:
            case "number":
                text = f"printf('%.17g', {name} + 0.0)"
            case "text":
                text = f"strlen({name}) || ':' || {name}"
            case "boolean":
                text = f"CASE WHEN {name} THEN 't' ELSE 'f' END"
            case _:
                assert_never(column.type)
        parts.append(f"coalesce({text}, 'n') || ';'")
    return " || ".join(parts)


def _wrong(mapping: ColumnMapping) -> Condition:
    if mapping.values:
        return UNLISTED_CODES
    return NOT_NUMBERS if mapping.type == "number" else NOT_BOOLEANS


def _same_patient_sql(identifier: str) -> str:
    """Under which the opt-out list is searched: 0012, 12 and 12.0 are one, so are capital and small letters.

    Rather leave out one patient too many than one too few.
    """
    digits = f"regexp_full_match({identifier}, '0*[0-9]+([.]0*)?')"
    return (
        f"CASE WHEN {digits} THEN ltrim(split_part({identifier}, '.', 1), '0') ELSE lower({identifier}) END"
    )
