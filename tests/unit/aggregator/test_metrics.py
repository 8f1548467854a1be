# SPDX-License-Identifier: Apache-2.0
"""Combined metrics, the best model, early stopping, and the table."""

import csv
import io

import msgspec
import pytest

from fedagent.aggregator.metrics import (
    RoundResult,
    SiteResult,
    best_model,
    combine,
    following,
    has_stopped_improving,
    round_result,
    rows,
    to_csv,
    value_of,
)
from fedagent.wire.messages import MetricValue, RoundKind
from fedagent.wire.study import EarlyStopping, Federation


def site(name: str, **metrics: tuple[float, int]) -> SiteResult:
    values = tuple(MetricValue(name=key, value=value, count=count) for key, (value, count) in metrics.items())
    return SiteResult(site=name, rows=100, snapshot=bytes(32), metrics=values)


def results(*losses: float | None, last: RoundKind = RoundKind.TRAIN) -> list[RoundResult]:
    """One round each; None where no site reported a loss."""
    made = []
    for index, loss in enumerate(losses):
        kind = last if index == len(losses) - 1 else RoundKind.TRAIN
        metrics = {} if loss is None else {"loss": (loss, 50)}
        made.append(round_result(index + 1, kind, [site("clinic-a", **metrics)]))
    return made


def test_a_metric_is_weighted_by_the_patients_that_it_is_over() -> None:
    (auc,) = combine([site("b", auc=(0.9, 10)), site("a", auc=(0.6, 30))])
    assert (auc.name, auc.count) == ("auc", 40)
    assert auc.value == pytest.approx(0.675)


def test_a_metric_that_one_site_lacks_is_combined_over_the_others() -> None:
    combined = combine([site("a", auc=(0.8, 20), loss=(0.5, 20)), site("b", loss=(0.7, 20))])
    assert [(each.name, each.count) for each in combined] == [("auc", 20), ("loss", 40)]


def test_a_metric_over_nobody_does_not_count() -> None:
    assert combine([site("a", auc=(0.8, 0))]) == ()


@pytest.mark.parametrize(
    ("metric", "expected"), [("loss", 1), ("calibration_error", 1), ("auc", 0), ("accuracy", 0)]
)
def test_the_best_model_is_the_one_that_was_received_in_the_best_round(metric: str, expected: int) -> None:
    found = [
        round_result(number, RoundKind.TRAIN, [site("a", **{metric: (value, 50)})])
        for number, value in ((1, 0.9), (2, 0.2), (3, 0.5))
    ]
    assert best_model(found, metric) == expected


def test_of_equal_models_the_earliest_is_the_best() -> None:
    assert best_model(results(0.5, 0.5), "loss") == 0


def test_without_the_metric_there_is_no_best_model() -> None:
    assert best_model(results(None, None), "loss") is None
    assert value_of(results(None)[0], "loss") is None


@pytest.mark.parametrize(
    ("losses", "stopped"),
    [
        ((1.0, 0.9, 0.8), False),
        ((1.0, 0.9, 0.9), False),
        ((1.0, 0.9, 0.9, 0.95), True),
        ((1.0, 0.99, 0.99), True),
        ((1.0, 1.0, 0.5, 0.5), False),
        ((1.0, None, None, None), False),
        ((), False),
    ],
)
def test_training_stops_when_the_metric_did_not_improve_in_patience_rounds(
    losses: tuple[float | None, ...], stopped: bool
) -> None:
    early = EarlyStopping(patience=2, min_delta=0.05)
    assert has_stopped_improving(results(*losses), "loss", early) is stopped


@pytest.mark.parametrize(
    ("rounds", "found", "expected"),
    [
        (3, results(1.0), RoundKind.TRAIN),
        (1, results(1.0), RoundKind.EVALUATE),
        (9, results(1.0, 1.0), RoundKind.EVALUATE),
        (1, results(1.0, 0.5, last=RoundKind.EVALUATE), RoundKind.ENDED),
    ],
    ids=["more to train", "all trained", "stopped early", "evaluated"],
)
def test_training_is_followed_by_one_evaluation_and_the_end(
    rounds: int, found: list[RoundResult], expected: RoundKind
) -> None:
    federation = Federation(
        rounds=rounds, sites=("clinic-a",), quorum=1, deadline_s=1.0, early_stopping=EarlyStopping(patience=1)
    )
    assert following(federation, found) is expected


def test_the_table_has_combined_and_single_values_and_csv_says_the_same() -> None:
    found = [round_result(2, RoundKind.TRAIN, [site("b", loss=(0.5, 10)), site("a", loss=(0.7, 30))])]
    table = rows(found)
    assert [(row.site, row.model, row.value, row.count) for row in table] == [
        ("all", 1, pytest.approx(0.65), 40),
        ("a", 1, 0.7, 30),
        ("b", 1, 0.5, 10),
    ]
    from_csv = list(csv.DictReader(io.StringIO(to_csv(table))))
    assert [{key: str(value) for key, value in msgspec.to_builtins(row).items()} for row in table] == from_csv
