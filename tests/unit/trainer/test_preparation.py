# SPDX-License-Identifier: Apache-2.0
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedagent.trainer.rows import MaskedColumn
from fedagent.trainer.tasks import TaskError
from fedagent.trainer.tasks.preparation import Encoded, Rows, columns_needed, fit, select, transform
from fedagent.wire import study as s
from fedagent.wire.messages import Reason
from tests.fakes.tables import Cells, Columns, make_table, make_task

NONE = s.NoNormalisation()


def table_of(x: Cells, *, split: Cells | None = None, **others: Cells) -> dict[str, MaskedColumn]:
    rows = len(x)
    return make_table(
        {
            "x": x,
            "ill": ["no", "yes"] * (rows // 2) + ["no"] * (rows % 2),
            "__patient": [f"p{index}" for index in range(rows)],
            "__split": split or ["train"] * rows,
            **others,
        }
    )


def prepared(column: s.Column, table: dict[str, MaskedColumn], **changes: object) -> tuple[Rows, Rows]:
    task = make_task(columns=(column,), **{"normalisation": NONE, **changes})
    selection = select(task, table)
    statistics = fit(task, selection.train)
    return transform(task, selection.train, statistics), transform(task, selection.test, statistics)


def features(column: s.Column, x: Cells, **changes: object) -> list[list[float]]:
    found: list[list[float]] = prepared(column, table_of(x), **changes)[0].features.tolist()
    return found


# --- what a feature is ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "cells", "expected"),
    [
        pytest.param(s.Numeric(name="x"), [1.5, -2.0], [[1.5], [-2.0]], id="a number is itself"),
        pytest.param(s.Numeric(name="x", minimum=0.0, maximum=10.0), [0.0, -0.1, 10.0, 10.1], [[0.0], [10.0]], id="range is closed"),
        pytest.param(s.Numeric(name="x"), [1.0, None, float("nan"), float("inf")], [[1.0]], id="what is no finite number is missing"),
        pytest.param(s.Boolean(name="x"), [True, False, None], [[1.0], [0.0]], id="booleans"),
        pytest.param(s.Boolean(name="x"), [1.0, 0.0, 2.0], [[1.0], [0.0]], id="1 and 0 are booleans, 2 is missing"),
        pytest.param(s.Category(name="x", categories=("b", "a")), ["a", "b", "c"], [[0.0, 1.0], [1.0, 0.0]], id="one-hot as declared"),
        pytest.param(
            s.Category(name="x", categories=("a", "b", "c"), baseline="b"),
            ["a", "b", "c"],
            [[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]],
            id="the baseline has no feature",
        ),
        pytest.param(s.Category(name="x", categories=("1", "4.0")), [4.0, 1.0, 2.0], [[0.0, 1.0], [1.0, 0.0]], id="numbers match numbers"),
        pytest.param(s.Category(name="x", categories=("1", "4.0")), ["4", "01", "x"], [[0.0, 1.0], [1.0, 0.0]], id="text matches numbers"),
        pytest.param(s.Category(name="x", categories=("1", "x")), ["1", "1.0"], [[1.0, 0.0]], id="else text matches exactly"),
        pytest.param(s.Category(name="x", categories=("0", "1")), [True, False], [[0.0, 1.0], [1.0, 0.0]], id="booleans match 0 and 1"),
        pytest.param(s.Category(name="x", categories=("true", "false")), [True, False], [[1.0, 0.0], [0.0, 1.0]], id="or their words"),
        pytest.param(s.Category(name="x", categories=("a", "b")), ["A", "a ", "a"], [[1.0, 0.0]], id="case and spaces count"),
    ],
)  # fmt: skip
def test_a_column_becomes_its_features(column: s.Column, cells: Cells, expected: list[list[float]]) -> None:
    assert features(column, cells) == expected


def test_features_stand_in_the_declared_order() -> None:
    columns = (s.Boolean(name="z"), s.Category(name="ward", categories=("n", "s")), s.Numeric(name="x"))
    task = make_task(columns=columns, normalisation=NONE)
    selection = select(task, table_of([7.0], z=[True], ward=["s"]))
    assert transform(task, selection.train, fit(task, selection.train)).features.tolist() == [
        [1.0, 0.0, 1.0, 7.0]
    ]


@pytest.mark.parametrize(
    ("column", "cells", "held"),
    [
        (s.Numeric(name="x"), ["1.5"], "holds text"),
        (s.Numeric(name="x"), [True], "holds booleans"),
        (s.Boolean(name="x"), ["true"], "holds text"),
        (s.Category(name="x", categories=("a", "b")), [731.0], "holds numbers"),
    ],
)
def test_another_type_is_refused_by_the_columns_name_and_without_a_value(
    column: s.Column, cells: Cells, held: str
) -> None:
    with pytest.raises(TaskError, match=f"column 'x' {held}") as caught:
        features(column, cells)
    assert caught.value.reason is Reason.DATA_DOES_NOT_FIT
    assert "731" not in str(caught.value)


# --- missing --------------------------------------------------------------------------------------------------------


def test_a_missing_number_becomes_the_mean_of_the_training_rows() -> None:
    train, test = prepared(
        s.Numeric(name="x"),
        table_of([1.0, 3.0, None, None, 100.0], split=["train", "train", "train", "test", "test"]),
        missing="mean",
    )
    assert train.features.tolist() == [[1.0], [3.0], [2.0]]
    assert test.features.tolist() == [[2.0], [100.0]]


def test_a_missing_boolean_becomes_the_share_of_the_training_rows() -> None:
    assert features(s.Boolean(name="x"), [True, True, False, False, None], missing="mean")[-1] == [0.5]


def test_a_missing_category_becomes_zeros() -> None:
    column = s.Category(name="x", categories=("a", "b"))
    assert features(column, ["a", None, "z"], missing="mean") == [[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]


def test_a_column_without_any_value_becomes_zero_after_normalisation() -> None:
    column = s.Numeric(name="x", mean=50.0, standard_deviation=10.0)
    for normalisation in (s.SiteNormalisation(), s.FixedNormalisation()):
        assert features(column, [None, None], missing="mean", normalisation=normalisation) == [[0.0], [0.0]]


@pytest.mark.parametrize("missing", ["drop", "mean"])
def test_a_row_without_a_known_label_is_left_out(missing: str) -> None:
    train, _ = prepared(
        s.Numeric(name="x"), table_of([1.0, 2.0, 3.0], ill=["yes", None, "perhaps"]), missing=missing
    )
    assert train.features.tolist() == [[1.0]]
    assert train.labels.tolist() == [1]


# --- normalisation --------------------------------------------------------------------------------------------------


def test_site_normalisation_reads_the_training_rows_and_divides_by_the_unbiased_deviation() -> None:
    train, test = prepared(
        s.Numeric(name="x"),
        table_of([1.0, 2.0, 6.0, 10.0], split=["train", "train", "train", "test"]),
        normalisation=s.SiteNormalisation(),
    )
    deviation = 7.0**0.5  # ((1-3)² + (2-3)² + (6-3)²) / 2
    assert train.features[:, 0] == pytest.approx(np.array([-2.0, -1.0, 3.0]) / deviation)
    assert test.features[:, 0] == pytest.approx([7.0 / deviation])


def test_a_constant_feature_becomes_zero_on_both_sides() -> None:
    train, test = prepared(
        s.Numeric(name="x"),
        table_of([0.1, 0.1, 0.1, 5.0], split=["train", "train", "train", "test"]),
        normalisation=s.SiteNormalisation(),
    )
    assert train.features.tolist() == [[0.0]] * 3
    assert test.features.tolist() == [[0.0]]


def test_one_hot_features_are_normalised_only_where_all_are() -> None:
    column = s.Category(name="x", categories=("a", "b"), baseline="a")
    cells: Cells = ["a", "a", "b", "b"]
    assert features(column, cells, normalisation=s.SiteNormalisation()) == [[0.0], [0.0], [1.0], [1.0]]
    scaled = features(column, cells, normalisation=s.SiteNormalisation(features="all"))
    assert np.ravel(scaled) == pytest.approx(np.array([-0.5, -0.5, 0.5, 0.5]) / (1 / 3) ** 0.5)


def test_fixed_normalisation_takes_the_declared_numbers_and_leaves_the_rest() -> None:
    columns = (s.Numeric(name="x", mean=10.0, standard_deviation=4.0), s.Boolean(name="z"))
    task = make_task(columns=columns, normalisation=s.FixedNormalisation())
    selection = select(task, table_of([12.0, 8.0], z=[True, False]))
    assert transform(task, selection.train, fit(task, selection.train)).features.tolist() == [
        [0.5, 1.0],
        [-0.5, 0.0],
    ]


@given(
    st.lists(st.integers(-1000, 1000).map(float), min_size=3, max_size=30),
    st.floats(0.5, 100.0),
    st.floats(-100.0, 100.0),
)
def test_site_normalisation_forgets_unit_and_origin(cells: Cells, unit: float, origin: float) -> None:
    moved: Cells = [float(cell or 0.0) * unit + origin for cell in cells]
    column, site = s.Numeric(name="x"), s.SiteNormalisation()
    one = np.array(features(column, cells, normalisation=site))
    assert np.array(features(column, moved, normalisation=site)) == pytest.approx(one, abs=1e-4)


@given(st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=2, max_size=30), st.floats(-1e6, 1e6))
def test_training_features_do_not_depend_on_test_rows(cells: Cells, other: float) -> None:
    split: Cells = ["train"] * len(cells) + ["test"]
    column, changes = s.Numeric(name="x"), {"normalisation": s.SiteNormalisation(), "missing": "mean"}
    one, _ = prepared(column, table_of([*cells, other], split=split), **changes)
    two, _ = prepared(column, table_of([*cells, None], split=split), **changes)
    assert np.array_equal(one.features, two.features)


# --- training and test rows -----------------------------------------------------------------------------------------


def side(encoded: Encoded) -> list[float]:
    found: list[float] = encoded.values[:, 0].tolist()
    return found


def test_a_file_split_follows_the_source_and_leaves_out_what_has_none() -> None:
    selection = select(
        make_task(columns=(s.Numeric(name="x"),)), table_of([1.0, 2.0, 3.0], split=["test", None, "train"])
    )
    assert (side(selection.train), side(selection.test)) == ([3.0], [1.0])


def test_a_column_split_follows_its_words_as_numbers_where_they_are_numbers() -> None:
    task = make_task(columns=(s.Numeric(name="x"),), split=s.ColumnSplit(column="fold", train="0", test="1"))
    selection = select(task, table_of([1.0, 2.0, 3.0, 4.0], fold=[1.0, 0.0, 2.0, None]))
    assert (side(selection.train), side(selection.test)) == ([2.0], [1.0])


@st.composite
def visits(draw: st.DrawFn) -> Columns:
    """Rows of patients who come several times."""
    patients = draw(st.lists(st.integers(0, 30), min_size=1, max_size=80))
    labels = draw(st.lists(st.sampled_from(["no", "yes"]), min_size=len(patients), max_size=len(patients)))
    return {
        "x": [float(index) for index in range(len(patients))],
        "ill": list(labels),
        "__patient": [f"p{patient}" for patient in patients],
    }


def seeded(seed: int = 0, ratio: float = 0.25) -> s.TabularClassifier:
    return make_task(columns=(s.Numeric(name="x"),), split=s.SeededSplit(test_ratio=ratio, seed=seed))


@given(visits(), st.integers(0, 5))
def test_no_patient_is_on_both_sides_and_no_row_is_lost(columns: Columns, seed: int) -> None:
    selection = select(seeded(seed), make_table(columns))
    patients = columns["__patient"]
    train, test = ({patients[int(x)] for x in side(each)} for each in (selection.train, selection.test))
    assert not train & test
    assert sorted(side(selection.train) + side(selection.test)) == columns["x"]
    assert (selection.train.patients, selection.test.patients) == (len(train), len(test))


@given(visits())
def test_each_class_gives_its_share_of_patients_to_the_test(columns: Columns) -> None:
    positive = {p for p, label in zip(columns["__patient"], columns["ill"], strict=True) if label == "yes"}
    negative = set(columns["__patient"]) - positive
    selection = select(seeded(), make_table(columns))
    test = {columns["__patient"][int(x)] for x in side(selection.test)}
    for stratum in (positive, negative):
        assert len(test & stratum) == int(0.25 * len(stratum) + 0.5)


@given(visits(), st.randoms(use_true_random=False))
def test_the_split_does_not_depend_on_the_order_of_rows(columns: Columns, random: Random) -> None:
    order = list(range(len(columns["x"])))
    random.shuffle(order)
    mixed = {name: [cells[index] for index in order] for name, cells in columns.items()}
    one, other = select(seeded(), make_table(columns)), select(seeded(), make_table(mixed))
    assert sorted(side(one.test)) == sorted(side(other.test))


def test_another_seed_chooses_other_patients() -> None:
    table = table_of([float(index) for index in range(100)])
    assert side(select(seeded(1), table).test) != side(select(seeded(2), table).test)
    assert side(select(seeded(1), table).test) == side(select(seeded(1), table).test)


# --- which columns --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        (s.SeededSplit(), ("x", "y", "ward", "ill", "__patient")),
        (s.FileSplit(), ("x", "y", "ward", "ill", "__patient", "__split")),
        (s.ColumnSplit(column="fold"), ("x", "y", "ward", "ill", "__patient", "fold")),
    ],
)
def test_only_the_columns_that_the_task_reads_are_read(
    split: s.SeededSplit | s.ColumnSplit | s.FileSplit, expected: tuple[str, ...]
) -> None:
    assert columns_needed(make_task(split=split)) == expected
