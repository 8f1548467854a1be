# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: S608 (every name and text in the SQL is quoted)
"""Files of patient rows, opened for DuckDB: found, readable, of one encoding, with named columns.

Rule: an error names file, line and column, never a value. DuckDB reads the very descriptor that was examined.
"""

import codecs
import csv
import difflib
import io
import itertools
import os
import re
import stat
from collections import Counter
from typing import BinaryIO, Final

import duckdb
import msgspec

from fedagent.conditions.condition import Said
from fedagent.conditions.data import (
    COLUMN_MORE_THAN_ONCE,
    IS_UTF8,
    IS_UTF16,
    MIXED_ENCODINGS,
    NO_COLUMN,
    NO_COLUMN_NEAR,
    NO_HEADER,
    NO_HEADER_FOR_COLUMN,
    NO_SOURCE_FILE,
    NOT_A_CSV_LINE,
    NOT_A_HEADER,
    NOT_LATIN1,
    NOT_PARQUET,
    NOT_READ,
    NOT_READ_TO_ITS_END,
    NOT_UTF8,
    SOURCE_NOT_A_FILE,
    WRONG_WIDTH,
)
from fedagent.conditions.files import TRAINER_CANNOT_READ
from fedagent.errors import ConfigurationError, DataError
from fedagent.trainer.datasets import CsvSource, as_number
from fedagent.trainer.engine import quoted_name, quoted_text

LINE_BYTES: Final = 2_000_000
"""DuckDB's own limit of a line (max_line_size)."""

_LINE: Final = re.compile(r"CSV Error on Line: (\d+)")
_WIDTH: Final = re.compile(r"Expected Number of Columns: (\d+) Found: (\d+)")
_CONTROL: Final = re.compile(rb"[\x80-\x9f]")


class OpenFile:
    """A regular file, opened for reading; DuckDB finds it under ``engine_path``."""

    def __init__(self, path: str) -> None:
        """Opens it.

        Raises:
            DataError: it is not there, not readable for us, or not a file.
        """
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError as error:
            raise DataError(NO_SOURCE_FILE(path=path)) from error
        except OSError as error:
            raise DataError(TRAINER_CANNOT_READ(path=path, reason=error.strerror)) from error
        if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            self.close()
            raise DataError(SOURCE_NOT_A_FILE(path=path))

    @property
    def engine_path(self) -> str:
        """Names this descriptor, not whatever the path names later; holds no wildcard."""
        return f"/proc/self/fd/{self._descriptor}"

    def reader(self) -> BinaryIO:
        """A reader of its own position, from the start; the caller closes it."""
        return open(self.engine_path, "rb")  # noqa: PTH123

    def close(self) -> None:
        """Closes the descriptor."""
        os.close(self._descriptor)


class Relation(msgspec.Struct, frozen=True):
    """A table that DuckDB can read.

    Attributes:
        sql: what stands after FROM.
        columns: the SQL name of each local column, in the file's order.
        twice: names that more than one column has, so that none of them can be asked for.
    """

    sql: str
    columns: dict[str, str]
    twice: frozenset[str] = frozenset()

    def require(self, wanted: str, where: str, key: str) -> None:
        """Nothing, where the column is there, once.

        Args:
            where: what the source is called.
            key: what in the dataset's file asks for it.

        Raises:
            ConfigurationError: the nearest name is suggested, unless the names may be a patient's values.
        """
        if wanted in self.columns:
            return
        if wanted in self.twice:
            raise ConfigurationError(COLUMN_MORE_THAN_ONCE(source=where, column=wanted, key=key))
        if any(as_number(name) is not None for name in self.columns):
            raise ConfigurationError(NO_HEADER_FOR_COLUMN(source=where, column=wanted, key=key))
        near = difflib.get_close_matches(wanted, self.columns, n=1)
        if near:
            raise ConfigurationError(NO_COLUMN_NEAR(source=where, column=wanted, key=key, near=near[0]))
        raise ConfigurationError(NO_COLUMN(source=where, column=wanted, key=key))


def csv_relation(source: CsvSource, file: OpenFile) -> Relation:
    """The CSV file as DuckDB reads it, all columns as text.

    Raises:
        DataError: encoding, or no header line.
    """
    check_encoding(source, file)
    names = csv_header(source, file) if source.header else source.columns
    declared = ", ".join(f"'__c{index}': 'VARCHAR'" for index in range(len(names)))
    sql = (
        f"read_csv({quoted_text(file.engine_path)}, auto_detect=false,header={str(source.header).lower()}, "
        f"delim={quoted_text(source.delimiter)}, quote='\"',escape='\"',columns={{{declared}}}, "
        f"encoding='{source.encoding}', compression='none', max_line_size={LINE_BYTES})"
    )
    often = Counter(names)
    columns = {name: f"__c{index}" for index, name in enumerate(names) if name and often[name] == 1}
    return Relation(sql, columns, frozenset(name for name, count in often.items() if name and count > 1))


def parquet_relation(file: OpenFile, engine: duckdb.DuckDBPyConnection) -> Relation:
    """The Parquet file as DuckDB reads it.

    Raises:
        DataError: it is no Parquet file.
    """
    sql = f"read_parquet({quoted_text(file.engine_path)})"
    try:
        rows = engine.execute(f"DESCRIBE SELECT * FROM {sql}").fetchall()
    except duckdb.Error:
        raise DataError(NOT_PARQUET(path=file.path)) from None
    return Relation(sql, {str(row[0]): quoted_name(str(row[0])) for row in rows})


def csv_header(source: CsvSource, file: OpenFile) -> tuple[str, ...]:
    """The names in the header line.

    Raises:
        DataError: the file is empty, or its first line is no CSV.
    """
    with file.reader() as raw, io.TextIOWrapper(raw, encoding=_python_encoding(source), newline="") as text:
        try:
            names = [name.strip() for name in next(csv.reader(text, delimiter=source.delimiter), [])]
        except (csv.Error, UnicodeDecodeError):
            raise DataError(NOT_A_HEADER(path=source.path)) from None
    if not any(names):
        raise DataError(NO_HEADER(path=source.path))
    return tuple(names)


def check_encoding(source: CsvSource, file: OpenFile) -> None:
    """Nothing, where every line is of the declared encoding.

    Raises:
        DataError: with file and line.
    """
    last_utf8 = 0
    with file.reader() as reader:
        for number in itertools.count(1):
            line = reader.readline(LINE_BYTES)
            if not line:
                return
            problem = _line_problem(line, number, source, last_utf8)
            if problem is not None:
                raise DataError(problem)
            last_utf8 = last_utf8 if line.isascii() else number


def _line_problem(line: bytes, number: int, source: CsvSource, last_utf8: int) -> Said | None:
    """Why the line is not of the source's encoding.

    Args:
        last_utf8: the last line so far with a character beyond ASCII, 0 for none.
    """
    if number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return IS_UTF16(path=source.path)
    if len(line) >= LINE_BYTES or b"\0" in line:
        return NOT_A_CSV_LINE(path=source.path, line=number, limit_bytes=LINE_BYTES)
    if line.isascii():
        return None
    if source.encoding == "utf-8":
        return None if _is_utf8(line) else _not_utf8(source.path, number, last_utf8)
    if _is_utf8(line):
        return IS_UTF8(path=source.path, line=number)
    return NOT_LATIN1(path=source.path, line=number) if _CONTROL.search(line) else None


def _not_utf8(path: str, number: int, last_utf8: int) -> Said:
    if last_utf8:
        return MIXED_ENCODINGS(path=path, line=number, utf8_line=last_utf8)
    return NOT_UTF8(path=path, line=number)


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _python_encoding(source: CsvSource) -> str:
    return "utf-8-sig" if source.encoding == "utf-8" else source.encoding


def reading_failed(error: duckdb.Error, where: str, columns: int) -> DataError:
    """What DuckDB found wrong with a file, without the row that it quotes."""
    line, width = _LINE.search(str(error)), _WIDTH.search(str(error))
    place = f"{where}:{line[1]}" if line else where
    if width:
        return DataError(WRONG_WIDTH(place=place, found=width[2], expected=columns))
    if isinstance(error, duckdb.OutOfMemoryException | duckdb.IOException):
        return DataError(NOT_READ_TO_ITS_END(place=place))
    return DataError(NOT_READ(place=place))
