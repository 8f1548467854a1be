# SPDX-License-Identifier: Apache-2.0
"""Definitions of datasets: what is read, and what is refused with which words."""

from pathlib import Path

import pytest

from fedagent.errors import ConfigurationError
from fedagent.trainer.datasets import CsvSource, as_number, definition_digest, read_definition

GOOD = """
name = "heart"
description = "angiographies"
patient = "mrn"
opt_out = "/etc/opt-out.txt"
[[source]]
kind = "csv"
path = "/data/a.csv"
delimiter = ";"
[[source]]
kind = "parquet"
path = "/data/b.parquet"
split = "test"
[[source]]
kind = "postgresql"
database = "clinic"
user = "fedagent"
query = "SELECT * FROM heart"
[columns]
age = { from = "Age (years)", type = "number" }
sex = { type = "text", values = { 1 = "male", 0 = "female", 9 = "" } }
"""


def write(folder: Path, text: str) -> None:
    (folder / "heart.toml").write_text(text)


def test_a_definition_with_every_kind_of_source_is_read(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    definition = read_definition(tmp_path, "heart")
    assert definition.source[0] == CsvSource(path="/data/a.csv", delimiter=";")
    assert definition.local_name("age") == "Age (years)"
    assert definition.local_name("sex") == "sex"
    assert definition.local_columns == ("mrn", "Age (years)", "sex")
    assert definition.sorted_columns == ("age", "sex")


def test_every_change_of_a_definition_changes_its_digest(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    first = definition_digest(read_definition(tmp_path, "heart"))
    write(tmp_path, GOOD.replace("female", "woman"))
    assert definition_digest(read_definition(tmp_path, "heart")) != first


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('name = "heart"', 'name = "lung"', "name: is 'lung', but the file is named for 'heart'"),
        ("delimiter", "delimeter", "source[0].delimeter: unknown key; did you mean 'delimiter'?"),
        ('";"', '";;"', "source[0].delimiter: expected string of length <= 1"),
        (
            'kind = "csv"',
            'kind = "excel"',
            "source[0].kind: 'excel' is not one of 'csv', 'parquet', 'postgresql'",
        ),
        ('path = "/data/a.csv"', 'path = "a.csv"', "source[0].path: must be an absolute path"),
        ('delimiter = ";"', 'columns = ["a"]', "source[0].columns: is for a file without a header line"),
        (
            'delimiter = ";"',
            "header = false",
            "source[0].columns: a file without a header line needs the names",
        ),
        ('delimiter = ";"', 'header = false\ncolumns = ["a", "a"]', "source[0].columns: 'a' is named twice"),
        (
            'user = "fedagent"',
            'user = "fedagent"\nsocket = "localhost"',
            "source[2].socket: must be the folder",
        ),
        ('patient = "mrn"', "", "opt_out: needs `patient`"),
        ('"/etc/opt-out.txt"', '"opt-out.txt"', "opt_out: must be an absolute path"),
        ("sex = {", "AGE = {", "columns.age: is there twice"),
        ("sex = {", "__sex = {", "columns.'__sex': what studies call a column is letters"),
        ("sex = {", "'Sex (m/f)' = {", "columns.'Sex (m/f)': what studies call a column is letters"),
        ('9 = ""', '"1.0" = ""', "columns.sex.values: the code 1 is mapped twice"),
        (
            'type = "number"',
            'type = "float"',
            "columns.age.type: 'float' is not one of 'boolean', 'number', 'text'",
        ),
    ],
)
def test_a_wrong_definition_is_refused_with_its_place(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in GOOD
    write(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(ConfigurationError) as caught:
        read_definition(tmp_path, "heart")
    assert words in str(caught.value)
    assert str(tmp_path / "heart.toml") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_dataset_is_named_with_the_known_ones(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    with pytest.raises(ConfigurationError, match=r"no dataset 'lung' .*known: heart"):
        read_definition(tmp_path, "lung")


@pytest.mark.parametrize(
    ("code", "number"),
    [("4", 4.0), ("4.0", 4.0), ("-1e3", -1000.0), (".5", 0.5), ("1_0", None), ("nan", None), ("1e999", None), ("x", None), ("", None), ("٤", None)],
)  # fmt: skip
def test_only_plain_finite_numbers_count_as_numbers(code: str, number: float | None) -> None:
    assert as_number(code) == number
