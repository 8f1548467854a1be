# SPDX-License-Identifier: Apache-2.0
"""From a local column's text to a study's value, as SQL expressions of DuckDB.

Rule: pure text to text; every constant is quoted. A text is missing, or right, or wrong: never silently dropped.
"""

from collections.abc import Sequence
from typing import Final

from fedagent.conditions.data import CODE_NOT_A_BOOLEAN, CODE_NOT_A_NUMBER
from fedagent.errors import ConfigurationError
from fedagent.trainer.datasets import NUMBER, ColumnMapping, ColumnType, CsvSource, Source, as_number
from fedagent.trainer.engine import quoted_text

SQL_TYPES: Final[dict[ColumnType, str]] = {"number": "DOUBLE", "text": "VARCHAR", "boolean": "BOOLEAN"}

_BLANKS: Final = " \t\r\n\v\f\u00a0\ufeff"
_TRUE: Final = frozenset({"true", "t", "yes", "y", "1"})
_FALSE: Final = frozenset({"false", "f", "no", "n", "0"})


def text_sql(column: str) -> str:
    """The column as text without blanks around it; NULL where nothing is left."""
    return f"nullif(trim(CAST({column} AS VARCHAR), {quoted_text(_BLANKS)}), '')"


def local_sql(column: str, source: Source, kind: ColumnType) -> str:
    """The text that a source has for a study column of this type; NULL for missing."""
    text = text_sql(column)
    if isinstance(source, CsvSource) and source.decimal == "," and kind == "number":
        text = f"translate({text}, ',.', '.,')"  # 3,5 becomes a number, 1.234 none: it may have meant 1234
    return known_sql(text, source.missing)


def known_sql(text: str, missing: Sequence[str]) -> str:
    """The text, or NULL where it is one of the codes for "not known"."""
    codes = [code.strip(_BLANKS) for code in missing]
    matches = [_match_sql(text, code) for code in codes if code]
    return f"CASE WHEN {' OR '.join(matches)} THEN NULL ELSE {text} END" if matches else text


def value_sql(text: str, mapping: ColumnMapping, where: str) -> str:
    """The study's value; NULL where the text is missing or wrong.

    Args:
        text: an SQL expression, NULL for missing.
        where: the mapping's place, for errors.

    Raises:
        ConfigurationError: one of ``values`` is not of the column's type.
    """
    if mapping.values:
        cases = [
            f"WHEN {_match_sql(text, code)} THEN {_constant_sql(value, mapping.type, f'{where}.values.{code}')}"
            for code, value in mapping.values.items()
        ]
        return f"CAST(CASE {' '.join(cases)} END AS {SQL_TYPES[mapping.type]})"
    if mapping.type == "text":
        return text
    if mapping.type == "number":
        return _number_sql(text)
    yes, no = (", ".join(map(quoted_text, sorted(words))) for words in (_TRUE, _FALSE))
    number = _number_sql(text)
    return (
        f"CASE WHEN lower({text}) IN ({yes}) OR {number} = 1 THEN true "
        f"WHEN lower({text}) IN ({no}) OR {number} = 0 THEN false END"
    )


def wrong_sql(text: str, mapping: ColumnMapping) -> str:
    """True where the text is neither missing nor anything that the mapping knows."""
    if mapping.values:
        matches = " OR ".join(_match_sql(text, code) for code in mapping.values)
        return f"({text} IS NOT NULL AND ({matches}) IS NOT TRUE)"
    if mapping.type == "text":
        return "false"
    wrong = f"({text} IS NOT NULL AND ({value_sql(text, mapping, '')}) IS NULL"
    return f"{wrong} AND lower({text}) <> 'nan')" if mapping.type == "number" else f"{wrong})"


def _match_sql(text: str, code: str) -> str:
    number = as_number(code.strip(_BLANKS))
    same = f"{text} = {quoted_text(code.strip(_BLANKS))}"
    return same if number is None else f"({same} OR {_number_sql(text)} = {_double_sql(number)})"


def _number_sql(text: str) -> str:
    number = f"TRY_CAST({text} AS DOUBLE)"
    return f"(CASE WHEN regexp_full_match({text}, {quoted_text(NUMBER)}) AND isfinite({number}) THEN {number} END)"


def _double_sql(number: float) -> str:
    return f"CAST('{number!r}' AS DOUBLE)"


def _constant_sql(value: str, kind: ColumnType, where: str) -> str:
    if value == "":
        return "NULL"
    if kind == "text":
        return quoted_text(value)
    if kind == "number":
        number = as_number(value)
        if number is None:
            raise ConfigurationError(CODE_NOT_A_NUMBER(key=where, value=value))
        return _double_sql(number)
    if value.lower() not in _TRUE | _FALSE:
        raise ConfigurationError(CODE_NOT_A_BOOLEAN(key=where, value=value))
    return "true" if value.lower() in _TRUE else "false"
