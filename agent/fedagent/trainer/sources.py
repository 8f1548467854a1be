# SPDX-License-Identifier: Apache-2.0
"""Files of patient rows, opened for DuckDB: found, readable, of one encoding, with named columns.

Rule: an error names file, line and column, never a value. DuckDB reads the very descriptor that was examined.
"""

import codecs
import csv
import difflib
import io
import os
import re
import stat
from collections.abc import Iterable
from typing import BinaryIO, Final

import duckdb
import msgspec

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
            raise DataError(f"there is no file {path}: correct `path` in the dataset's file") from error
        except OSError as error:
            raise DataError(
                f"cannot read {path}: {error.strerror}; the trainer's user must be able to"
            ) from error
        if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            self.close()
            raise DataError(f"{path} is not a file: correct `path` in the dataset's file")

    @property
    def engine_path(self) -> str:
        """Names this descriptor, not whatever the path names later; holds no wildcard."""
        return f"/proc/self/fd/{self._descriptor}"

    def reader(self) -> BinaryIO:
        """A reader of its own position, from the start; the caller closes it."""
        return open(self.engine_path, "rb")  # noqa: PTH123, SIM115

    def close(self) -> None:
        """Closes the descriptor."""
        os.close(self._descriptor)


class Relation(msgspec.Struct, frozen=True):
    """A table that DuckDB can read: what stands after FROM, and each local column's SQL name, in the file's order."""

    sql: str
    columns: dict[str, str]


def csv_relation(source: CsvSource, file: OpenFile) -> Relation:
    """The CSV file as DuckDB reads it, all columns as text.

    Raises:
        DataError: encoding, no header line, a name twice.
    """
    check_encoding(source, file)
    names = csv_header(source, file) if source.header else source.columns
    columns = {f"c{index}": "VARCHAR" for index in range(len(names))}
    declared = ", ".join(f"'{column}': '{kind}'" for column, kind in columns.items())
    sql = (
        f"read_csv({quoted_text(file.engine_path)}, auto_detect=false, header={str(source.header).lower()}, "
        f"delim={quoted_text(source.delimiter)}, quote='\"', escape='\"', columns={{{declared}}}, "
        f"encoding='{source.encoding}', compression='none', max_line_size={LINE_BYTES})"
    )
    return Relation(sql, dict(zip(names, columns, strict=True)))


def parquet_relation(file: OpenFile, engine: duckdb.DuckDBPyConnection) -> Relation:
    """The Parquet file as DuckDB reads it.

    Raises:
        DataError: it is no Parquet file.
    """
    sql = f"read_parquet({quoted_text(file.engine_path)})"
    try:
        rows = engine.execute(f"DESCRIBE SELECT * FROM {sql}").fetchall()
    except duckdb.Error:
        raise DataError(f"{file.path} is not a Parquet file that can be read: write it anew") from None
    return Relation(sql, {str(row[0]): quoted_name(str(row[0])) for row in rows})


def csv_header(source: CsvSource, file: OpenFile) -> tuple[str, ...]:
    """The names in the header line.

    Raises:
        DataError: the file is empty, or a name is there twice.
    """
    with file.reader() as raw, io.TextIOWrapper(raw, encoding=_python_encoding(source), newline="") as text:
        try:
            names = [name.strip() for name in next(csv.reader(text, delimiter=source.delimiter), [])]
        except (csv.Error, UnicodeDecodeError):
            raise DataError(
                f"{source.path} line 1 is not a header line: set header = false and `columns`"
            ) from None
    if not any(names):
        raise DataError(f"{source.path} is empty: it has no header line")
    twice = next((index for index, name in enumerate(names) if name and name in names[:index]), None)
    if twice is not None:
        raise DataError(
            f"{source.path} line 1: column {twice + 1} has the same name as an earlier one: rename it"
        )
    # A nameless column (row numbers of R and pandas) cannot be asked for, and must not collide with another one.
    return tuple(name or f"\0{index}" for index, name in enumerate(names))


def require_column(wanted: str, names: Iterable[str], where: str, key: str) -> None:
    """Nothing, where the column is there.

    Raises:
        ConfigurationError: it is not; the nearest name is suggested, unless the names may be a patient's values.
    """
    known = [name for name in names if not name.startswith("\0")]
    if wanted in known:
        return
    if any(as_number(name) is not None for name in known):
        raise ConfigurationError(
            f"{where} has no column {wanted!r} ({key}): its first line seems to be data; "
            "for a file without a header line set header = false and `columns`"
        )
    near = difflib.get_close_matches(wanted, known, n=1)
    hint = (
        f"did you mean {near[0]!r}?"
        if near
        else f"it has {len(known)} others; correct `from` in the dataset's file"
    )
    raise ConfigurationError(f"{where} has no column {wanted!r} ({key}): {hint}")


def check_encoding(source: CsvSource, file: OpenFile) -> None:
    """Nothing, where every line is of the declared encoding.

    Raises:
        DataError: with file and line.
    """
    other = 0
    with file.reader() as reader:
        number = 0
        while line := reader.readline(LINE_BYTES):
            number += 1
            if number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                raise DataError(f"{source.path} is UTF-16: save it as UTF-8")
            if len(line) >= LINE_BYTES:
                raise DataError(
                    f"{source.path} line {number} is longer than {LINE_BYTES} bytes: is it a CSV file?"
                )
            if not line.isascii() and _is_other(line, source, number, other):
                other = number


def _is_other(line: bytes, source: CsvSource, number: int, earlier: int) -> bool:
    """Whether the line holds good UTF-8 beyond ASCII; a wrong line raises."""
    utf8 = _is_utf8(line)
    if source.encoding == "utf-8":
        if utf8:
            return True
        mixed = f", but line {earlier} is: the file mixes two encodings" if earlier else ""
        advice = (
            "save all of it as UTF-8"
            if earlier
            else 'save it as UTF-8, or set encoding = "latin-1" for this source'
        )
        raise DataError(f"{source.path} line {number} is not UTF-8{mixed}; {advice}")
    if utf8:
        raise DataError(
            f'{source.path} line {number} is UTF-8, not Latin-1; save all of it as UTF-8 and drop encoding = "latin-1"'
        )
    if _CONTROL.search(line):
        raise DataError(
            f"{source.path} line {number} is not Latin-1 (Windows-1252, perhaps); save it as UTF-8"
        )
    return False


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
    place = f"{where} line {line[1]}" if line else where
    if width:
        return DataError(
            f"{place} has {width[2]} columns, expected are {columns}: correct the file, or `columns` and `delimiter`"
        )
    if isinstance(error, duckdb.OutOfMemoryException | duckdb.IOException):
        return DataError(f"{place} cannot be read to its end: is there space in the trainer's state folder?")
    return DataError(f"{place} cannot be read: check its quotes and its delimiter")
