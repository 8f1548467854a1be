# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: S608 (every name and text in the SQL is quoted)
"""A first ``datasets.d/NAME.toml`` for a CSV file, for an administrator to correct.

Rule: of the file's content only the header line's names get into the text; a first line that looks like data is refused.
"""

import csv
import itertools
import re
import unicodedata
from contextlib import closing
from typing import Final, Literal

import duckdb
import msgspec
import tomli_w

from fedagent.conditions.data import FIRST_LINE_HOLDS_NUMBERS
from fedagent.errors import DataError
from fedagent.trainer.datasets import ColumnMapping, ColumnType, CsvSource, as_number
from fedagent.trainer.engine import open_engine
from fedagent.trainer.mapping import local_sql, wrong_sql
from fedagent.trainer.sources import (
    LINE_BYTES,
    OpenFile,
    Relation,
    check_encoding,
    csv_relation,
    reading_failed,
)

_DELIMITERS: Final = (",", ";", "\t", "|")
_NAME_LENGTH: Final = 64

_HEAD: Final = """\
# Dataset {name}: where the rows are, and what studies call the local columns.
# Written by `fedagent dataset add` from a header line: correct the types, add `values` for codes, remove columns that
# no study needs. Then: sudo fedagent dataset snapshot {name}
"""

_CODES: Final = """\
# Codes become a study's words like this ("" means not known):
# [columns.sex]
# type = "text"
# values = { 0 = "female", 1 = "male", 9 = "" }
"""


def draft_definition(name: str, path: str, patient: str | None) -> str:
    """The text of a definition with every column of the CSV file.

    Args:
        path: of the CSV file, absolute.
        patient: the column that identifies the patient, as the header line calls it.

    Raises:
        DataError: the file cannot be read, or its first line is no header line.
        ConfigurationError: there is no such patient column.
    """
    with closing(OpenFile(path)) as file:
        source = _guess_source(path, file)
        relation = csv_relation(source, file)
        if any(as_number(each) is not None for each in relation.columns):
            raise DataError(FIRST_LINE_HOLDS_NUMBERS(path=path))
        if patient is not None:
            relation.require(patient, path, "patient")
        source, types = _guess_types(file, relation, source)
    return _written(
        name, source, patient, {each: types[each] for each in relation.columns if each != patient}
    )


def _guess_source(path: str, file: OpenFile) -> CsvSource:
    """The delimiter that makes the most of the first line, and Latin-1 where not every line is UTF-8."""
    encoding: Literal["utf-8", "latin-1"] = "utf-8"
    try:
        check_encoding(CsvSource(path=path), file)
    except DataError:
        encoding = "latin-1"  # or neither: then the caller is told the line
    with file.reader() as reader:
        line = reader.readline(LINE_BYTES).decode(encoding, errors="replace")
    widths = {each: len(next(csv.reader([line], delimiter=each), [])) for each in _DELIMITERS}
    return CsvSource(path=path, delimiter=max(_DELIMITERS, key=lambda each: widths[each]), encoding=encoding)


def _guess_types(
    file: OpenFile, relation: Relation, source: CsvSource
) -> tuple[CsvSource, dict[str, ColumnType]]:
    """For each local column the narrowest type that all its known values have, with the decimal mark that gives more."""
    guesses = []
    for decimal in (".", ","):
        guessed = msgspec.structs.replace(source, decimal=decimal)
        guesses.append((guessed, _fitting_types(file, relation, guessed)))
    return max(guesses, key=lambda guess: list(guess[1].values()).count("number"))


def _fitting_types(file: OpenFile, relation: Relation, source: CsvSource) -> dict[str, ColumnType]:
    kinds: tuple[ColumnType, ...] = ("number", "boolean")
    tests = []
    for column in relation.columns.values():
        for kind in kinds:
            text = local_sql(column, source, kind)
            tests.append(
                f"count({text}) > 0 AND count(*) FILTER ({wrong_sql(text, ColumnMapping(type=kind))}) = 0"
            )
    try:
        with closing(open_engine(files=[file.engine_path])) as engine:
            found = engine.execute(f"SELECT {', '.join(tests)} FROM {relation.sql}").fetchone() or ()
    except duckdb.Error as error:
        raise reading_failed(error, source.path, len(relation.columns)) from None
    answers = iter(found)
    types: dict[str, ColumnType] = {}
    for name in relation.columns:
        fitting = [kind for kind in kinds if next(answers)]
        types[name] = fitting[0] if fitting else "text"
    return types


def _written(name: str, source: CsvSource, patient: str | None, types: dict[str, ColumnType]) -> str:
    top: dict[str, object] = {"name": name, "description": ""}
    if patient is not None:
        top["patient"] = patient
    defaults = CsvSource(path=source.path)
    described = {"kind": "csv", "path": source.path, "missing": list(source.missing)}
    described |= {
        key: getattr(source, key)
        for key in ("delimiter", "encoding", "decimal")
        if getattr(source, key) != getattr(defaults, key)
    }
    tables: dict[str, dict[str, str]] = {}
    for local, kind in types.items():
        column = _study_name(local, set(map(str.lower, tables)))
        tables[column] = ({} if local == column else {"from": local}) | {"type": kind}
    parts = [_HEAD.format(name=name), tomli_w.dumps(top), tomli_w.dumps({"source": [described]}), _CODES]
    return "\n".join([*parts, tomli_w.dumps({"columns": tables})])


def _study_name(local: str, taken: set[str]) -> str:
    """The local name as a study can write it: small letters, digits, underscores, once."""
    local = local.replace("ß", "ss")
    plain = unicodedata.normalize("NFKD", local).encode("ascii", "ignore").decode()
    name = re.sub(r"[^a-z0-9]+", "_", plain.lower()).strip("_") or "column"
    name = (name if name[0].isalpha() else f"column_{name}")[: _NAME_LENGTH - 5]
    numbered = (f"{name}_{number}" for number in itertools.count(2))
    return name if name not in taken else next(each for each in numbered if each not in taken)
