# SPDX-License-Identifier: Apache-2.0
"""What a local text becomes, asked of DuckDB itself."""

from contextlib import closing

import pytest

from fedagent.errors import ConfigurationError
from fedagent.trainer.datasets import ColumnMapping, CsvSource, ParquetSource, Source
from fedagent.trainer.engine import open_engine, quoted_text
from fedagent.trainer.mapping import local_sql, value_sql, wrong_sql

NUMBER, TEXT, BOOLEAN = (ColumnMapping(type=kind) for kind in ("number", "text", "boolean"))
CHEST = ColumnMapping(type="text", values={"1": "typical", "4": "none", "x": "other", "9": ""})
STAGE = ColumnMapping(type="number", values={"mild": "1", "severe": "2.5"})
SMOKES = ColumnMapping(type="boolean", values={"ja": "true", "nein": "no"})
CSV, PARQUET = CsvSource(path="/x"), ParquetSource(path="/x")
COMMA = CsvSource(path="/x", decimal=",", missing=("-9,0", "unknown"))


def read(text: str | None, mapping: ColumnMapping, source: Source) -> tuple[object, bool]:
    """The value and whether the text is wrong."""
    local = local_sql("NULL" if text is None else quoted_text(text), source, mapping.type)
    with closing(open_engine(files=[])) as engine:
        row = engine.execute(
            f"SELECT {value_sql(local, mapping, 'here')}, {wrong_sql(local, mapping)}"
        ).fetchone()
    assert row is not None
    return row


@pytest.mark.parametrize(
    ("text", "mapping", "source", "value", "wrong"),
    [
        ("63", NUMBER, CSV, 63.0, False),
        (" 63.0\t", NUMBER, CSV, 63.0, False),
        ("\u00a063", NUMBER, CSV, 63.0, False),
        ("-1.5e2", NUMBER, CSV, -150.0, False),
        (".7", NUMBER, CSV, 0.7, False),
        ("?", NUMBER, CSV, None, False),
        ("NA", NUMBER, CSV, None, False),
        ("", NUMBER, CSV, None, False),
        (None, NUMBER, CSV, None, False),
        ("NaN", NUMBER, CSV, None, False),
        ("inf", NUMBER, CSV, None, True),
        ("1e999", NUMBER, CSV, None, True),
        ("1_000", NUMBER, CSV, None, True),
        ("3,5", NUMBER, CSV, None, True),
        ("0x10", NUMBER, CSV, None, True),
        ("3,5", NUMBER, COMMA, 3.5, False),
        ("1.234", NUMBER, COMMA, None, True),
        ("unknown", NUMBER, COMMA, None, False),
        ("NA", NUMBER, COMMA, None, True),
        ("a, b.", TEXT, COMMA, "a, b.", False),
        ("it's", TEXT, CSV, "it's", False),
        ("?", TEXT, PARQUET, "?", False),
        ("1.0", BOOLEAN, CSV, True, False),
        ("0", BOOLEAN, CSV, False, False),
        ("Yes", BOOLEAN, CSV, True, False),
        ("FALSE", BOOLEAN, CSV, False, False),
        ("2", BOOLEAN, CSV, None, True),
        ("maybe", BOOLEAN, CSV, None, True),
        ("4", CHEST, CSV, "none", False),
        ("4.0", CHEST, CSV, "none", False),
        ("04", CHEST, CSV, "none", False),
        ("x", CHEST, CSV, "other", False),
        ("9.0", CHEST, CSV, None, False),
        ("2", CHEST, CSV, None, True),
        ("?", CHEST, CSV, None, False),
        ("mild", STAGE, CSV, 1.0, False),
        ("severe", STAGE, CSV, 2.5, False),
        ("1", STAGE, CSV, None, True),
        ("ja", SMOKES, CSV, True, False),
        ("nein", SMOKES, CSV, False, False),
    ],
)
def test_a_text_is_a_value_or_missing_or_wrong(
    text: str | None, mapping: ColumnMapping, source: Source, value: object, wrong: bool
) -> None:
    assert read(text, mapping, source) == (value, wrong)


def test_a_code_for_missing_that_is_a_number_stands_for_every_way_to_write_it() -> None:
    source = CsvSource(path="/x", missing=("-9",))
    assert [read(text, NUMBER, source)[0] for text in ("-9", "-9.0", "-9.00", "9")] == [None, None, None, 9.0]


@pytest.mark.parametrize("kind", ["number", "boolean"])
def test_a_mapped_value_of_another_type_is_refused_with_its_place(kind: str) -> None:
    mapping = ColumnMapping(type="number" if kind == "number" else "boolean", values={"1": "male"})
    with pytest.raises(ConfigurationError, match=r"columns.sex.values.1: 'male' is n"):
        value_sql("x", mapping, "columns.sex")
