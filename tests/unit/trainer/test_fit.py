# SPDX-License-Identifier: Apache-2.0
"""Whether a snapshot fits a study, in words and counts that point at nobody."""

from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from fedagent.conditions.data import (
    CLASS_ABSENT,
    COLUMN_LACKING,
    COLUMN_LACKING_NEAR,
    EVERY_DATASET_FITS,
    TOO_FEW_TEST_PATIENTS,
)
from fedagent.conditions.trainer import TOO_FEW_ROWS
from fedagent.trainer.fit import Fit, check_fit, fit_text
from fedagent.trainer.rows import read_columns
from fedagent.trainer.tasks import TaskError
from fedagent.trainer.tasks.preparation import columns_needed, select
from fedagent.trainer.tasks.tabular import read_selection, require_training_rows
from fedagent.trainer.tasks.training import tabular_task
from fedagent.wire import study as s
from tests.fakes.datasets import DataHospital
from tests.fakes.tables import make_study

COLUMNS: Mapping[str, object] = {
    "age": {"type": "number"},
    "ward": {"type": "text"},
    "ill": {"type": "text"},
    "side": {"type": "text"},
}
TASK = s.TabularClassifier(
    columns=(
        s.Numeric(name="age", minimum=18, maximum=90),
        s.Category(name="ward", categories=("north", "south")),
    ),
    label=s.Label(column="ill", classes=("no", "yes")),
    optimizer=s.Sgd(learning_rate=0.1),
    work=s.Steps(amount=1),
    batch_size=4,
    split=s.SeededSplit(test_ratio=0.5),
)


@pytest.fixture
def hospital(tmp_path: Path) -> DataHospital:
    return DataHospital(tmp_path / "hospital")


def rows(*extra: str) -> str:
    good = [f"{20 + i},{('north', 'south')[i % 2]},{('no', 'yes')[i // 20]},train" for i in range(40)]
    return "\n".join(["age,ward,ill,side", *good, *extra]) + "\n"


def check(hospital: DataHospital, text: str, **changes: object) -> Fit:
    hospital.define_csv(text, COLUMNS)
    task = msgspec.structs.replace(TASK, **changes)
    return check_fit(make_study(task), hospital.make().record)


def test_a_dataset_that_fits_says_how_many_rows_and_which_classes(hospital: DataHospital) -> None:
    fit = check(hospital, rows())
    assert fit.fits
    assert fit.train is not None
    assert fit.test is not None
    assert (fit.train.rows, fit.test.rows, fit.problems, fit.notes) == (20, 20, (), ())
    assert [(each.name, each.rows) for each in fit.train.classes] == [("no", 10), ("yes", 10)]
    assert fit_text(fit).endswith("The dataset fits the study.")


def test_the_rows_are_those_that_the_task_would_train_on(hospital: DataHospital) -> None:
    fit = check(hospital, rows(*["999,north,no,train"] * 12))
    table = read_columns(hospital.record().path, columns_needed(TASK))
    chosen = select(TASK, table)
    assert fit.train is not None
    assert fit.train.rows == len(chosen.train.labels)


def test_small_counts_are_words_and_large_ones_numbers(hospital: DataHospital) -> None:
    bad = [",north,no,train"] * 3 + ["999,north,no,train"] * 11 + ["30,west,perhaps,train"]
    fit = check(hospital, rows(*bad))
    age, ward, ill = fit.columns
    assert (age.missing, age.unusable, age.unusable_because) == ("fewer than 10", 11, "outside 18 to 90")
    assert (ward.missing, ward.unusable) == (0, "fewer than 10")
    assert (ill.missing, ill.unusable) == (0, "fewer than 10")
    assert "west" not in fit_text(fit)
    assert "perhaps" not in msgspec.json.encode(fit).decode()


def test_a_missing_column_comes_with_the_nearest_name(hospital: DataHospital) -> None:
    fit = check(hospital, rows(), columns=(s.Numeric(name="ages"), s.Boolean(name="zzz")))
    assert not fit.fits
    assert fit.problems[0] == COLUMN_LACKING_NEAR(column="ages", near="age")
    assert fit.problems[1] == COLUMN_LACKING(column="zzz")
    assert fit_text(fit).splitlines()[-2] == f"problem: {fit.problems[1]} [{COLUMN_LACKING.code}]"
    assert fit.train is None
    assert fit_text(fit).endswith("The dataset does not fit the study.")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"columns": (s.Numeric(name="ward"),)}, "'ward' holds text, the study wants a number"),
        ({"columns": (s.Boolean(name="ward"),)}, "'ward' holds text, the study wants a boolean"),
        (
            {"columns": (s.Category(name="age", categories=("a", "b")),)},
            "'age' holds numbers, the study wants one of",
        ),
    ],
)
def test_a_column_of_another_type_is_a_problem(
    hospital: DataHospital, changes: dict[str, object], words: str
) -> None:
    fit = check(hospital, rows(), **changes)
    assert not fit.fits
    assert fit.problems[0].text.startswith(f"column {words}")


def test_too_few_rows_for_training_are_a_problem(hospital: DataHospital) -> None:
    fit = check(hospital, rows(), columns=(s.Numeric(name="age", minimum=55),))
    assert not fit.fits
    assert fit.problems == (TOO_FEW_ROWS(minimum=10),)


@pytest.mark.parametrize("patients", [9, 10])
def test_it_counts_patients_as_the_worker_does_not_their_rows(hospital: DataHospital, patients: int) -> None:
    visits = [f"{20 + i % 60},north,{('no', 'yes')[i % 2]},train,p{i % patients}" for i in range(60)]
    text = "\n".join(["age,ward,ill,side,mrn", *visits]) + "\n"
    hospital.define_csv(text, COLUMNS, patient="mrn")
    study = make_study(msgspec.structs.replace(TASK, split=s.ColumnSplit(column="side")))
    record = hospital.make().record
    with record.path.open("rb") as file:
        selection = read_selection(tabular_task(study), file.fileno())
    try:
        require_training_rows(study, selection)
        trains = True
    except TaskError:
        trains = False
    assert trains is check_fit(study, record).fits is (patients == 10)


def test_a_class_that_no_training_row_has_is_told(hospital: DataHospital) -> None:
    fit = check(hospital, rows(), columns=(s.Numeric(name="age", maximum=39),))
    assert fit.fits
    assert fit.notes[0] == CLASS_ABSENT(classes="yes", column="ill")


def test_too_few_test_rows_are_told(hospital: DataHospital) -> None:
    fit = check(hospital, rows("30,north,no,test"), split=s.ColumnSplit(column="side"))
    assert fit.fits
    assert fit.notes == (TOO_FEW_TEST_PATIENTS(minimum=10),)
    assert [each.column for each in fit.columns] == ["age", "ward", "ill", "side"]


def test_a_study_without_patient_data_fits_everything(hospital: DataHospital) -> None:
    hospital.define_csv(rows(), COLUMNS)
    fit = check_fit(make_study(s.Identity(parameters=4)), hospital.make().record)
    assert fit.fits
    assert fit.notes == (EVERY_DATASET_FITS(),)
