# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nst

from fedagent.trainer.tasks.metrics import (
    Floats,
    Integers,
    auc,
    balanced_accuracy,
    binary_auc,
    calibration_error,
    evaluate,
    log_probabilities,
)


def named(outputs: list[list[float]], labels: list[int], classes: int = 2) -> dict[str, float]:
    found = evaluate(np.array(outputs, dtype=np.float64), np.array(labels), classes)
    assert all(metric.count == len(labels) for metric in found)
    return {metric.name: metric.value for metric in found}


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


# --- by hand --------------------------------------------------------------------------------------------------------


def test_binary_metrics_are_what_a_pencil_gives() -> None:
    found = named([[logit(p)] for p in (0.95, 0.85, 0.45, 0.35, 0.65)], [1, 1, 1, 0, 0])
    assert found == pytest.approx(
        {
            "auc": 5 / 6,  # of six pairs only (0.45, 0.65) is the wrong way round
            "accuracy": 3 / 5,
            "balanced_accuracy": (2 / 3 + 1 / 2) / 2,
            "loss": -math.log(0.95 * 0.85 * 0.45 * 0.65 * 0.35) / 5,
            # 0.55 is wrong; of twice 0.65 one is right; 0.85 and 0.95 are right
            "calibration_error": (0.55 + 0.3 + 0.15 + 0.05) / 5,
        }
    )


def test_multi_class_metrics_are_what_a_pencil_gives() -> None:
    rows = [[0.75, 0.15, 0.10], [0.20, 0.55, 0.25], [0.10, 0.58, 0.32], [0.20, 0.15, 0.65]]
    found = named([[math.log(p) for p in row] for row in rows], [0, 1, 2, 2], classes=3)
    assert found == pytest.approx(
        {
            "auc": (1 + 2 / 3 + 1) / 3,
            "accuracy": 3 / 4,
            "balanced_accuracy": (1 + 1 + 1 / 2) / 3,
            "loss": -math.log(0.75 * 0.55 * 0.32 * 0.65) / 4,
            "calibration_error": (0.25 + abs(1 - 0.55 - 0.58) + 0.35) / 4,
        }
    )


def test_ties_count_half() -> None:
    assert binary_auc(np.array([1.0, 1.0, 1.0, 0.0]), np.array([True, False, True, False])) == pytest.approx(
        3 / 4
    )


def test_a_probability_of_one_half_is_the_first_class() -> None:
    assert named([[0.0], [0.0]], [0, 0])["accuracy"] == 1.0


def test_confident_and_right_is_perfectly_calibrated() -> None:
    assert calibration_error(np.array([1.0, 1.0]), np.array([True, True])) == 0.0


def test_huge_logits_overflow_nothing() -> None:
    found = named([[1e30], [-1e30]], [1, 0])
    assert found["loss"] == 0.0
    assert named([[1e3], [-1e3]], [0, 1])["loss"] == pytest.approx(1e3)


# --- what is not defined is left out --------------------------------------------------------------------------------


def test_one_class_only_has_no_auc_and_no_balanced_accuracy() -> None:
    assert set(named([[1.0], [-1.0]], [1, 1])) == {"accuracy", "loss", "calibration_error"}
    assert set(named([[1.0, 0.0, 0.0]], [1], classes=3)) == {"accuracy", "loss", "calibration_error"}


def test_no_rows_have_no_metrics() -> None:
    assert evaluate(np.empty((0, 1)), np.empty(0, dtype=np.int64), 2) == ()


def test_a_class_without_rows_is_no_part_of_the_mean() -> None:
    outputs = np.array([[2.0, 1.0, 9.0], [1.0, 2.0, 9.0], [3.0, 1.0, 0.0]])
    assert auc(outputs, np.array([0, 1, 0])) == 1.0


# --- for all --------------------------------------------------------------------------------------------------------

SCORES = nst.arrays(np.float64, st.integers(2, 40), elements=st.integers(-50, 50).map(float))


@st.composite
def scored(draw: st.DrawFn) -> tuple[Floats, Integers]:
    scores = draw(SCORES)
    labels = draw(nst.arrays(np.int64, len(scores), elements=st.integers(0, 1)))
    labels[0], labels[1] = 0, 1
    return scores, labels


@given(scored())
def test_auc_is_the_share_of_pairs_won(example: tuple[Floats, Integers]) -> None:
    scores, labels = example
    won = [float(p > n) + (p == n) / 2 for p in scores[labels == 1] for n in scores[labels == 0]]
    assert binary_auc(scores, labels == 1) == pytest.approx(np.mean(won))


@given(scored())
def test_metrics_do_not_depend_on_the_order_of_rows(example: tuple[Floats, Integers]) -> None:
    scores, labels = example
    order = np.random.default_rng(len(scores)).permutation(len(scores))
    one, other = evaluate(scores[:, None], labels, 2), evaluate(scores[order, None], labels[order], 2)
    assert [m.value for m in one] == pytest.approx([m.value for m in other])


@given(scored())
def test_auc_reads_ranks_only_and_mirrors(example: tuple[Floats, Integers]) -> None:
    scores, labels = example
    value = binary_auc(scores, labels == 1)
    assert value is not None
    assert binary_auc(np.exp(scores / 10) * 3, labels == 1) == pytest.approx(value)
    assert binary_auc(-scores, labels == 1) == pytest.approx(1 - value)


@given(scored())
def test_two_outputs_are_the_same_as_their_difference(example: tuple[Floats, Integers]) -> None:
    scores, _ = example
    two = np.stack([np.zeros_like(scores), scores], axis=1)
    assert log_probabilities(two) == pytest.approx(log_probabilities(scores[:, None]))


@given(scored())
def test_every_ratio_lies_between_zero_and_one(example: tuple[Floats, Integers]) -> None:
    scores, labels = example
    for metric in evaluate(scores[:, None], labels, 2):
        assert metric.value >= 0.0
        assert metric.name == "loss" or metric.value <= 1.0


@given(scored())
def test_balanced_accuracy_equals_accuracy_where_the_classes_are_equal(
    example: tuple[Floats, Integers],
) -> None:
    scores, labels = example
    half = min(int(np.sum(labels)), int(np.sum(1 - labels)))
    keep = np.concatenate([np.flatnonzero(labels == 0)[:half], np.flatnonzero(labels == 1)[:half]])
    right = (scores > 0)[keep] == (labels == 1)[keep]
    assert balanced_accuracy(right, labels[keep]) == pytest.approx(np.mean(right))
