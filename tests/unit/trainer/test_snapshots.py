# SPDX-License-Identifier: Apache-2.0
"""The store of snapshots: immutable files, one pointer, columns as masked arrays."""

import os
import stat
from pathlib import Path

import numpy as np
import pytest

from fedagent.errors import DataError, StorageError
from fedagent.trainer.rows import read_columns
from fedagent.trainer.snapshots import PATIENT, SPLIT, SnapshotStore
from tests.fakes.datasets import NOW, DataHospital

TABLE = "mrn,age,sex,smokes\n7,63,m,1\n8,?,f,0\n9,41.5,,1\n"
COLUMNS = {"age": {"type": "number"}, "sex": {"type": "text"}, "smokes": {"type": "boolean"}}


@pytest.fixture
def hospital(tmp_path: Path) -> DataHospital:
    hospital = DataHospital(tmp_path / "hospital")
    hospital.define_csv(TABLE, COLUMNS, patient="mrn")
    return hospital


def test_there_is_no_current_snapshot_before_the_first(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path / "snapshots")
    assert store.current("heart") is None
    assert store.all() == ()


def test_a_snapshot_says_what_it_is(hospital: DataHospital) -> None:
    record = hospital.make().record
    assert (record.dataset, record.rows, record.note.patients, record.created_at) == ("heart", 3, 3, NOW)
    assert [(column.name, column.type) for column in record.columns] == [
        ("age", "number"),
        ("sex", "text"),
        ("smokes", "boolean"),
    ]
    assert record.note.sources == ("csv",)
    assert SnapshotStore(hospital.state / "snapshots").all() == (record,)


def test_a_snapshot_is_immutable_and_private(hospital: DataHospital) -> None:
    record = hospital.make().record
    assert stat.S_IMODE(record.path.stat().st_mode) == 0o400
    assert stat.S_IMODE(record.path.parent.stat().st_mode) == 0o700
    assert sorted(path.suffix for path in record.path.parent.iterdir()) == ["", ".json", ".parquet"]


def test_columns_come_as_masked_arrays_in_the_order_of_the_patients(hospital: DataHospital) -> None:
    hospital.make()
    columns = hospital.columns("age", "sex", "smokes", PATIENT, SPLIT)
    assert {name: column.dtype.kind for name, column in columns.items()} == {
        "age": "f", "sex": "O", "smokes": "b", PATIENT: "O", SPLIT: "O",
    }  # fmt: skip
    patients = columns[PATIENT].tolist()
    assert patients == sorted(patients)
    rows = zip(columns["age"].tolist(), columns["sex"].tolist(), columns["smokes"].tolist(), strict=True)
    assert set(rows) == {(63.0, "m", True), (None, "f", False), (41.5, None, True)}
    assert columns[SPLIT].mask.all()


def test_a_column_asked_for_twice_comes_once(hospital: DataHospital) -> None:
    hospital.make()
    assert list(hospital.columns("age", "age")) == ["age"]
    assert read_columns(hospital.record().path, []) == {}


def test_an_open_descriptor_is_read_after_the_file_was_removed(hospital: DataHospital) -> None:
    path = hospital.make().record.path
    descriptor = os.open(path, os.O_RDONLY)
    try:
        path.unlink()
        ages = read_columns(f"/proc/self/fd/{descriptor}", ["age"])["age"]
    finally:
        os.close(descriptor)
    assert np.ma.count(ages) == 2


def test_a_column_that_is_not_there_is_named(hospital: DataHospital) -> None:
    hospital.make()
    with pytest.raises(DataError, match="the snapshot has no column 'weight'"):
        hospital.columns("age", "weight")


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(b"SENTINEL" * 100)
    with pytest.raises(DataError, match="cannot be read") as caught:
        read_columns(path, ["age"])
    assert "SENTINEL" not in str(caught.value)


@pytest.mark.parametrize("damage", ["pointer", "note", "no note"])
def test_a_damaged_store_says_what_to_do(hospital: DataHospital, damage: str) -> None:
    record = hospital.make().record
    note = record.path.with_suffix(".json")
    note.chmod(0o600)
    match damage:
        case "pointer":
            record.path.with_name("current").write_text("no digest")
        case "note":
            note.write_text("{}")
        case _:
            note.unlink()
    with pytest.raises(StorageError, match="sudo fedagent dataset snapshot heart"):
        SnapshotStore(hospital.state / "snapshots").current("heart")


def test_earlier_snapshots_go_oldest_first_above_the_budget_and_never_a_current_one(
    hospital: DataHospital,
) -> None:
    made = []
    for age in (63, 64, 65):
        hospital.define_csv(TABLE.replace("63", str(age)), COLUMNS, patient="mrn")
        made.append(hospital.make())
        os.utime(made[-1].record.path, (age, age))
    first, second, third = (each.record.path for each in made)
    assert [each.evicted for each in made] == [(), (), ()]
    store = SnapshotStore(hospital.state / "snapshots")
    assert store.stay_in_budget(second.stat().st_size + third.stat().st_size) == (first,)
    assert first.with_suffix(".json").exists()
    assert store.stay_in_budget(0) == (second,)
    assert store.stay_in_budget(0) == ()
    assert third.exists()


def test_of_a_damaged_dataset_nothing_is_removed(hospital: DataHospital) -> None:
    record = hospital.make().record
    record.path.with_name("current").write_text("no digest")
    assert SnapshotStore(hospital.state / "snapshots").stay_in_budget(0) == ()
    assert SnapshotStore(hospital.state / "none").stay_in_budget(0) == ()
