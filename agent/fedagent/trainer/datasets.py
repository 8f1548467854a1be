# SPDX-License-Identifier: Apache-2.0
"""A dataset's definition: where the rows are, and what the local columns and codes are called in studies.

Rule: ``datasets.d/NAME.toml`` is written by root and read by the trainer's user only; whatever changes a snapshot's
content is a field here, so that ``definition_digest`` covers it. Only the columns named here ever leave the source.
"""

import hashlib
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec import Meta

from fedagent.conditions.condition import Said
from fedagent.conditions.data import (
    CODE_MAPPED_TWICE,
    COLUMN_MAPPED_TWICE,
    COLUMN_NAMED_TWICE,
    COLUMNS_MISSING,
    COLUMNS_WITH_HEADER,
    DATASET_MISNAMED,
    NO_DATASET,
    NOT_A_SOCKET_FOLDER,
    NOT_A_STUDY_COLUMN,
    NOT_ABSOLUTE,
    OPT_OUT_WITHOUT_PATIENT,
)
from fedagent.errors import ConfigurationError
from fedagent.storage.toml import read_toml
from fedagent.wire.values import ColumnName, Name, Text

T = TypeVar("T", str, float)

NUMBER: Final = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
"""What counts as a number, for Python's and DuckDB's (RE2) regular expressions alike."""

ColumnType = Literal["number", "text", "boolean"]
Delimiter = Annotated[str, Meta(min_length=1, max_length=1, pattern=r'^[^"\r\n]$')]
Code = Annotated[str, Meta(max_length=500)]
LocalName = Annotated[str, Meta(min_length=1, max_length=500)]


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the definition; an unknown key is an error with its path."""


class CsvSource(Part, frozen=True, tag_field="kind", tag="csv"):
    """A CSV file (RFC 4180, any one-character delimiter).

    Attributes:
        columns: the local names in their order, for a file without a header line (``header = false``).
        decimal: how numbers are written: ``,`` for 3,5 (then 1.234,5 is no number).
        missing: texts that stand for "not known"; codes that are numbers compare as numbers.
    """

    path: str
    delimiter: Delimiter = ","
    header: bool = True
    columns: tuple[LocalName, ...] = ()
    encoding: Literal["utf-8", "latin-1"] = "utf-8"
    decimal: Literal[".", ","] = "."
    missing: tuple[Code, ...] = ("", "?", "NA")
    split: Literal["train", "test"] | None = None

    @property
    def title(self) -> str:
        """What messages call it."""
        return self.path


class ParquetSource(Part, frozen=True, tag_field="kind", tag="parquet"):
    """A Parquet file."""

    path: str
    missing: tuple[Code, ...] = ()
    split: Literal["train", "test"] | None = None

    @property
    def title(self) -> str:
        """What messages call it."""
        return self.path


class PostgresqlSource(Part, frozen=True, tag_field="kind", tag="postgresql"):
    """One SELECT in a PostgreSQL database on this machine, as a role that may do nothing else.

    Attributes:
        socket: the folder of the server's unix socket.
        user: the role; the server knows us by our system user (peer authentication), so there is no password.
        query: a SELECT; its columns are the local columns.
    """

    database: str
    user: str
    query: Annotated[str, Meta(min_length=1, max_length=100_000)]
    socket: str = "/run/postgresql"
    port: Annotated[int, Meta(ge=1, le=65535)] = 5432
    missing: tuple[Code, ...] = ()
    split: Literal["train", "test"] | None = None

    @property
    def title(self) -> str:
        """What messages call it."""
        return f"postgresql:///{self.database}"


Source = CsvSource | ParquetSource | PostgresqlSource


class ColumnMapping(Part, frozen=True):
    """How one study column is made from one local column.

    Attributes:
        local: the local column's name; empty: the study column's own name.
        values: local code to the study's value; a code that is a number stands for every way to write it
            (``4`` for ``4.0``), and the value ``""`` means "not known". A code that is not listed is an error.
    """

    type: ColumnType
    local: Annotated[str, Meta(max_length=500)] = msgspec.field(name="from", default="")
    values: dict[Code, Text] = {}


class DatasetDefinition(Part, frozen=True):
    """The file ``datasets.d/NAME.toml``.

    Attributes:
        patient: the local column that identifies the patient; without it every row is a patient of its own.
        opt_out: a file with one patient identifier a line; their rows are never written anywhere.
    """

    name: Name
    source: Annotated[tuple[Source, ...], Meta(min_length=1, max_length=1000)]
    columns: Annotated[dict[str, ColumnMapping], Meta(min_length=1, max_length=4096)]
    description: Text = ""
    patient: LocalName | None = None
    opt_out: str | None = None

    def local_name(self, column: str) -> str:
        """The local column that this study column is made from."""
        return self.columns[column].local or column

    @property
    def local_columns(self) -> tuple[str, ...]:
        """Every local column that is read, each once."""
        patient = () if self.patient is None else (self.patient,)
        return tuple(dict.fromkeys((*patient, *map(self.local_name, self.columns))))

    @property
    def sorted_columns(self) -> tuple[str, ...]:
        """The study columns in the order in which a snapshot stores them."""
        return tuple(sorted(self.columns))


def read_definition(folder: Path, name: str) -> DatasetDefinition:
    """The definition of the dataset.

    Raises:
        ConfigurationError: there is none, or it is wrong; with file and key path.
    """
    path = folder / f"{name}.toml"
    if not path.exists():
        known = ", ".join(sorted(each.stem for each in folder.glob("*.toml"))) or "none"
        raise ConfigurationError(NO_DATASET(name=name, folder=folder, known=known, path=path))
    definition = read_toml(path, DatasetDefinition)
    if definition.name != name:
        raise ConfigurationError(DATASET_MISNAMED(path=path, found=definition.name, name=name))
    problem = _problem(definition, path)
    if problem is not None:
        raise ConfigurationError(problem)
    return definition


def definition_digest(definition: DatasetDefinition) -> bytes:
    """SHA-256 over the definition's canonical form, 32 bytes."""
    return hashlib.sha256(msgspec.msgpack.encode(definition, order="deterministic")).digest()


def as_number(code: str) -> float | None:
    """The code's value where it is a finite number, else None."""
    value = float(code) if re.fullmatch(NUMBER, code, re.ASCII) else math.inf
    return value if math.isfinite(value) else None


def _problem(definition: DatasetDefinition, path: Path) -> Said | None:
    """The first thing that no type can say."""
    if definition.opt_out is not None and definition.patient is None:
        return OPT_OUT_WITHOUT_PATIENT(path=path)
    if definition.opt_out is not None and not Path(definition.opt_out).is_absolute():
        return NOT_ABSOLUTE(path=path, key="opt_out")
    for index, source in enumerate(definition.source):
        problem = _source_problem(source, path, f"source[{index}]")
        if problem is not None:
            return problem
    return _columns_problem(definition.columns, path)


def _source_problem(source: Source, path: Path, key: str) -> Said | None:
    if isinstance(source, PostgresqlSource):
        return None if source.socket.startswith("/") else NOT_A_SOCKET_FOLDER(path=path, key=f"{key}.socket")
    if not Path(source.path).is_absolute():
        return NOT_ABSOLUTE(path=path, key=f"{key}.path")
    return _names_problem(source, path, f"{key}.columns") if isinstance(source, CsvSource) else None


def _names_problem(source: CsvSource, path: Path, key: str) -> Said | None:
    if source.header and source.columns:
        return COLUMNS_WITH_HEADER(path=path, key=key)
    if not source.header and not source.columns:
        return COLUMNS_MISSING(path=path, key=key)
    twice = _first_twice(source.columns)
    return None if twice is None else COLUMN_NAMED_TWICE(path=path, key=key, column=twice)


def _columns_problem(columns: dict[str, ColumnMapping], path: Path) -> Said | None:
    twice = _first_twice([name.lower() for name in columns])
    if twice is not None:
        return COLUMN_MAPPED_TWICE(path=path, column=twice)
    for name, mapping in columns.items():
        if not _is_column_name(name):
            return NOT_A_STUDY_COLUMN(path=path, column=name)
        numbers = [number for number in map(as_number, mapping.values) if number is not None]
        duplicate = _first_twice(numbers)
        if duplicate is not None:
            return CODE_MAPPED_TWICE(path=path, column=name, code=f"{duplicate:g}")
    return None


def _is_column_name(name: str) -> bool:
    try:
        msgspec.convert(name, ColumnName)
    except msgspec.ValidationError:
        return False
    return True


def _first_twice(items: Sequence[T]) -> T | None:
    seen: set[T] = set()
    for item in items:
        if item in seen:
            return item
        seen.add(item)
    return None
