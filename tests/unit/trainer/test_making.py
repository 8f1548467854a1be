# SPDX-License-Identifier: Apache-2.0
"""Snapshots of real files: content, order, opt-out, errors."""

import fcntl
import hashlib
import hmac
import os
import random
from pathlib import Path
from typing import Any

import duckdb
import pytest

from fedagent.errors import ConfigurationError, DataError, FedagentError, StorageError
from fedagent.trainer.datasets import read_definition
from fedagent.trainer.making import make_snapshot
from fedagent.trainer.snapshots import PATIENT, SPLIT
from tests.fakes.datasets import BUDGET, NOW, DataHospital

NUMBER, TEXT = {"type": "number"}, {"type": "text"}
ROWS = [f"{mrn},{mrn % 7},{'mf'[mrn % 2]}" for mrn in range(1, 40)]


def table(rows: list[str], header: str = "mrn,age,sex") -> str:
    return "\n".join([header, *rows]) + "\n"


@pytest.fixture
def hospital(tmp_path: Path) -> DataHospital:
    return DataHospital(tmp_path / "hospital")


@pytest.mark.parametrize("patient", [{"patient": "mrn"}, {}])
def test_the_same_rows_in_another_order_have_the_same_digest(
    hospital: DataHospital, patient: dict[str, Any]
) -> None:
    rows = ROWS + ROWS[:5]
    hospital.define_csv(table(rows), {"age": NUMBER, "sex": TEXT}, **patient)
    first = hospital.make()
    random.shuffle(rows)
    hospital.write("heart.csv", table(rows))
    second = hospital.make()
    assert second.record.digest == first.record.digest
    assert (first.changed, second.changed) == (True, False)
    assert first.record.rows == 44


def test_columns_and_sources_in_another_order_have_the_same_digest(hospital: DataHospital) -> None:
    halves = [str(hospital.write("a.csv", table(ROWS[:9]))), str(hospital.write("b.csv", table(ROWS[9:])))]
    hospital.define(
        "heart",
        [{"kind": "csv", "path": path} for path in halves],
        {"age": NUMBER, "sex": TEXT},
        patient="mrn",
    )
    first = hospital.make().record.digest
    hospital.define(
        "heart",
        [{"kind": "csv", "path": path} for path in halves[::-1]],
        {"sex": TEXT, "age": NUMBER},
        patient="mrn",
    )
    assert hospital.make().record.digest == first


@pytest.mark.parametrize("change", ["value", "missing", "type", "patient", "split", "row"])
def test_any_other_content_has_another_digest(hospital: DataHospital, change: str) -> None:
    columns: dict[str, object] = {"age": NUMBER, "sex": TEXT}
    rows, source = list(ROWS), {}
    hospital.define_csv(table(rows), columns, patient="mrn")
    first = hospital.make()
    match change:
        case "value":
            rows[3] = "4,4.0000000000000009,m"
        case "missing":
            rows[3] = "4,,m"
        case "type":
            columns["age"] = TEXT
        case "patient":
            rows[3] = rows[3].replace("4,", "104,", 1)
        case "split":
            source["split"] = "test"
        case _:
            del rows[3]
    hospital.define_csv(table(rows), columns, patient="mrn", source=source)
    second = hospital.make()
    assert second.changed
    assert second.record.digest != first.record.digest
    assert first.record.path.exists()


def test_a_digest_is_known_for_ever(hospital: DataHospital) -> None:
    (hospital.state).mkdir()
    (hospital.state / "pseudonym.key").write_bytes(bytes(32))
    text = 'mrn;age;sex;smokes\n1;-0;"a;b";1\n2;0.1;;0\n2;1e300;ü;\n'
    columns = {"age": NUMBER, "sex": TEXT, "smokes": {"type": "boolean"}}
    hospital.define_csv(text, columns, patient="mrn", source={"delimiter": ";", "split": "train"})
    assert (
        hospital.make().record.digest.hex()
        == "657422fe55d4b24ec4947ffb475e6a96e48d0d0f8d1899b96a32a5575078e444"
    )


def test_the_patient_is_a_keyed_hash_and_nothing_else_of_it_is_kept(hospital: DataHospital) -> None:
    hospital.define_csv(table(["MRN-SENTINEL,63,m"]), {"age": NUMBER}, patient="mrn")
    record = hospital.make().record
    key = (hospital.state / "pseudonym.key").read_bytes()
    assert hospital.columns(PATIENT)[PATIENT].tolist() == [
        hmac.new(key, b"MRN-SENTINEL", hashlib.sha256).hexdigest()
    ]
    everything = b"".join(path.read_bytes() for path in hospital.state.rglob("*") if path.is_file())
    assert b"SENTINEL" not in everything
    assert [path.suffix for path in record.path.parent.iterdir() if path.is_dir()] == []


def test_without_a_patient_column_every_row_is_a_patient(hospital: DataHospital) -> None:
    hospital.define_csv(table(["1,63,m", "1,63,m", "1,64,m"]), {"age": NUMBER})
    record = hospital.make().record
    assert (record.rows, record.note.patients) == (3, 3)


def test_rows_of_one_patient_share_a_pseudonym(hospital: DataHospital) -> None:
    hospital.define_csv(table(["1,63,m", "1,64,m", "2,63,m"]), {"age": NUMBER}, patient="mrn")
    record = hospital.make().record
    assert (record.rows, record.note.patients) == (3, 2)


@pytest.mark.parametrize("listed", ["7", "007", "7.0", " 7 # on 1 March"])
def test_who_opted_out_is_left_out_however_the_list_writes_the_number(
    hospital: DataHospital, listed: str
) -> None:
    opt_out = hospital.write("opt-out.txt", f"\ufeff# refused\n\n{listed}\nABC\n")
    hospital.define_csv(
        table(["7,63,m", "abc,64,m", "70,65,f"]), {"age": NUMBER}, patient="mrn", opt_out=str(opt_out)
    )
    made = hospital.make()
    assert (made.counts.kept, made.counts.opted_out) == (1, 2)
    assert hospital.columns("age")["age"].tolist() == [65.0]


def test_without_its_opt_out_list_no_snapshot_is_made(hospital: DataHospital) -> None:
    hospital.define_csv(table(ROWS), {"age": NUMBER}, patient="mrn", opt_out="/nowhere/opt-out.txt")
    with pytest.raises(ConfigurationError, match=r"cannot read the opt-out list /nowhere/opt-out\.txt"):
        hospital.make()


def test_rows_without_a_patient_identifier_are_left_out_and_told(hospital: DataHospital) -> None:
    hospital.define_csv(table(["7,63,m", " ,64,m"]), {"age": NUMBER}, patient="mrn")
    assert hospital.make().counts.without_patient == 1
    assert hospital.record().rows == 1


def test_every_source_has_its_side(hospital: DataHospital) -> None:
    train, test = hospital.write("a.csv", table(ROWS[:30])), hospital.write("b.csv", table(ROWS[30:]))
    sources = [
        {"kind": "csv", "path": str(path), "split": side} for path, side in ((train, "train"), (test, "test"))
    ]
    hospital.define("heart", sources, {"age": NUMBER}, patient="mrn")
    hospital.make()
    sides = hospital.columns(SPLIT)[SPLIT].tolist()
    assert (sides.count("train"), sides.count("test")) == (30, 9)


def test_parquet_and_csv_of_the_same_rows_have_the_same_digest(hospital: DataHospital) -> None:
    hospital.define_csv(table(ROWS), {"age": NUMBER, "sex": TEXT}, patient="mrn")
    first = hospital.make().record.digest
    path = hospital.folder / "heart.parquet"
    with duckdb.connect() as engine:
        engine.execute(f"COPY (FROM read_csv('{hospital.folder}/heart.csv')) TO '{path}' (FORMAT parquet)")
    hospital.define(
        "heart", [{"kind": "parquet", "path": str(path)}], {"age": NUMBER, "sex": TEXT}, patient="mrn"
    )
    assert hospital.make().record.digest == first


def test_a_path_with_wildcards_and_quotes_is_one_file(hospital: DataHospital) -> None:
    path = hospital.write("a'[1]*.csv", table(ROWS))
    hospital.define("heart", [{"kind": "csv", "path": str(path)}], {"age": NUMBER}, patient="mrn")
    assert hospital.make().record.rows == len(ROWS)


def test_names_with_quotes_and_capitals_are_names(hospital: DataHospital) -> None:
    columns = {"Age": {"from": 'the "age"; DROP', "type": "number"}, "sex": {"from": "sEx", "type": "text"}}
    hospital.define_csv(table(["1,2,3"], '"the ""age""; DROP",sex,sEx'), columns)
    hospital.make()
    assert {name: column.tolist() for name, column in hospital.columns("Age", "sex").items()} == {
        "Age": [1.0],
        "sex": ["3"],
    }


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_study_columns_may_be_called_as_anything_else_is(hospital: DataHospital, kind: str) -> None:
    names = [
        "row",
        "source",
        "left_out",
        "id",
        "c0",
        "c1",
        "p0",
        "patient",
        "split",
        "column0",
        "staged",
        "select",
    ]
    swapped = dict(zip(names, names[::-1], strict=True))
    path = hospital.write("a.csv", table([",".join(map(str, range(len(names))))], ",".join(names)))
    if kind == "parquet":
        path = hospital.folder / "a.parquet"
        with duckdb.connect() as engine:
            engine.execute(f"COPY (FROM read_csv('{hospital.folder}/a.csv')) TO '{path}' (FORMAT parquet)")
    columns = {name: {"from": local, "type": "number"} for name, local in swapped.items()}
    hospital.define("heart", [{"kind": kind, "path": str(path)}], columns, patient="id")
    hospital.make()
    read = hospital.columns(*names)
    assert {name: read[name].tolist() for name in names} == {
        name: [names.index(swapped[name])] for name in names
    }


def test_a_column_that_no_study_needs_may_be_there_twice(hospital: DataHospital) -> None:
    hospital.define_csv(table(["1,63,m,m"], "mrn,age,sex,sex"), {"age": NUMBER}, patient="mrn")
    assert hospital.make().record.rows == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no header line"),
        ("mrn,age,sex\n", "dataset heart: no rows are left: its sources are empty"),
        ("mrn,aeg,sex\n1,2,3\n", "has no column 'age' (columns.age); did you mean 'aeg'?"),
        ("mrn,age,age\n1,2,3\n", "has more than one column 'age'"),
        ("1,63,m\n2,64,f\n", "its first line seems to be data"),
        ("mrn,age,sex\n1,2,3\n1,2\n", "heart.csv:3 has 2 columns, expected are 3"),
        ("mrn,age,sex\n1,2,3\n1,2,3,4\n", "heart.csv:3 has 4 columns, expected are 3"),
        ('mrn,age,sex\n1,2,3\n1,2,"3\n', "heart.csv:3 cannot be read; check its quotes"),
        ("mrn,age,sex\n1,2,3\n1,SENTINEL,m\n", "column age: fewer than 10 rows of"),
        ("mrn,age,sex\n1,2,3\n1,SENTINEL,m\n", "(the first is row 2) are not a number"),
        ("mrn,age,sex\n" + "1,SENTINEL,m\n" * 12, "column age: 12 rows of"),
    ],
)  # fmt: skip
def test_a_file_that_does_not_fit_is_refused_in_one_line(
    hospital: DataHospital, text: str, words: str
) -> None:
    hospital.define_csv(text, {"age": NUMBER, "sex": TEXT}, patient="mrn")
    with pytest.raises(FedagentError) as caught:
        hospital.make()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "SENTINEL" not in str(caught.value)
    assert not list((hospital.state / "snapshots" / "heart").iterdir())


def test_a_code_that_is_not_mapped_is_refused(hospital: DataHospital) -> None:
    sex = {"type": "text", "values": {"m": "male"}}
    hospital.define_csv(table(["1,63,m", "2,64,SENTINEL"]), {"sex": sex}, patient="mrn")
    with pytest.raises(DataError, match=r"row 2\) hold a code that columns.sex.values does not list"):
        hospital.make()


def test_a_file_that_is_no_parquet_is_refused(hospital: DataHospital) -> None:
    path = hospital.write("a.parquet", "SENTINEL" * 9)
    hospital.define("heart", [{"kind": "parquet", "path": str(path)}], {"age": NUMBER})
    with pytest.raises(DataError, match=r"a\.parquet is not a Parquet file"):
        hospital.make()


def test_the_current_snapshot_stays_when_the_next_one_fails(hospital: DataHospital) -> None:
    hospital.define_csv(table(ROWS), {"age": NUMBER}, patient="mrn")
    first = hospital.make().record
    hospital.write("heart.csv", table([*ROWS, "99,x,m"]))
    with pytest.raises(DataError):
        hospital.make()
    assert hospital.record() == first


def test_two_runs_at_once_do_not_meet(hospital: DataHospital) -> None:
    hospital.define_csv(table(ROWS), {"age": NUMBER}, patient="mrn")
    folder = hospital.make().record.path.parent
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(StorageError, match="a snapshot of heart is being made already"):
            make_snapshot(
                hospital.state, read_definition(hospital.datasets, "heart"), NOW, budget_bytes=BUDGET
            )
    finally:
        os.close(descriptor)


def test_what_a_killed_run_left_is_removed(hospital: DataHospital) -> None:
    hospital.define_csv(table(ROWS), {"age": NUMBER}, patient="mrn")
    folder = hospital.make().record.path.parent
    (folder / ".work").mkdir()
    (folder / ".work" / "work.duckdb").write_text("rows")
    hospital.make()
    assert not (folder / ".work").exists()
