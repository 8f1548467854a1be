# SPDX-License-Identifier: Apache-2.0
"""The demo's data and how they are dealt out to hospitals."""

import csv
from pathlib import Path

import pytest

import fedagent.demo.split as split_module
from fedagent.demo.split import LEAST_OF_CLASS, LEAST_ROWS, Row, deal, split_hospitals
from fedagent.errors import UsageError
from fedagent.storage.toml import read_toml
from fedagent.wire.study import Numeric, Study, TabularClassifier

DATA = Path(split_module.__file__).parent / "data"
TABLE = DATA / "breast_cancer.csv"


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    with TABLE.open(newline="") as file:
        return list(csv.DictReader(file))


def malignant(rows: list[Row]) -> int:
    return sum(row["diagnosis"] == "malignant" for row in rows)


def test_the_shipped_data_are_the_published_ones(rows: list[Row]) -> None:
    assert (len(rows), malignant(rows)) == (569, 212)
    assert {row["diagnosis"] for row in rows} == {"malignant", "benign"}
    assert [rows[0]["patient"], rows[-1]["patient"]] == ["p001", "p569"]
    assert rows[0]["mean_radius"] == "17.99"
    assert "10.24432/C5DW2B" in (DATA / "SOURCE.txt").read_text()
    assert "CC BY 4.0" in (DATA / "SOURCE.txt").read_text()


def test_the_shipped_study_names_every_column_and_every_value_is_in_its_range(rows: list[Row]) -> None:
    task = read_toml(DATA / "study.toml", Study).task
    assert isinstance(task, TabularClassifier)
    assert ["patient", *(column.name for column in task.columns), task.label.column] == list(rows[0])
    for column in task.columns:
        assert isinstance(column, Numeric)
        assert column.minimum is not None
        assert column.maximum is not None
        assert all(column.minimum <= float(row[column.name]) <= column.maximum for row in rows)


@pytest.mark.parametrize("hospitals", [1, 2, 4, 8, 17])
def test_every_patient_goes_to_exactly_one_hospital_and_none_is_too_small(
    rows: list[Row], hospitals: int
) -> None:
    dealt = deal(rows, hospitals, 7)
    assert sorted(row["patient"] for own in dealt for row in own) == [row["patient"] for row in rows]
    for own in dealt:
        assert len(own) >= LEAST_ROWS
        assert LEAST_OF_CLASS <= malignant(own) <= len(own) - LEAST_OF_CLASS


def test_hospitals_differ_in_size_and_in_their_share_of_malignant_ones(rows: list[Row]) -> None:
    dealt = deal(rows, 4, 7)
    sizes = [len(own) for own in dealt]
    shares = [malignant(own) / len(own) for own in dealt]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 2 * sizes[-1]
    assert shares == sorted(shares)
    assert shares[0] < 0.25
    assert shares[-1] > 0.6


def test_the_seed_alone_decides(rows: list[Row]) -> None:
    assert deal(rows, 4, 7) == deal(rows, 4, 7)
    assert deal(rows, 4, 7) != deal(rows, 4, 8)


@pytest.mark.parametrize("hospitals", [0, 18])
def test_too_many_hospitals_are_refused(rows: list[Row], hospitals: int) -> None:
    with pytest.raises(UsageError, match="are enough for 1 to 17 hospitals"):
        deal(rows, hospitals, 7)


def test_every_hospital_gets_a_file_with_the_header(rows: list[Row], tmp_path: Path) -> None:
    paths = split_hospitals(TABLE, tmp_path / "data", names=["hospital-1", "hospital-2"], seed=7)
    assert [path.name for path in paths] == ["hospital-1.csv", "hospital-2.csv"]
    with paths[0].open(newline="") as file:
        assert list(csv.DictReader(file)) == deal(rows, 2, 7)[0]
