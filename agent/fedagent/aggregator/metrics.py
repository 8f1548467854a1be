# SPDX-License-Identifier: Apache-2.0
"""Metrics of the sites combined, and what follows from them: the best model, early stopping, tables to export.

Rule: a metric in round r is of the model that was received in round r, which is the one after round r-1. Sites are added
in the order of their names.
"""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from fedagent.wire.messages import MetricValue, RoundKind
from fedagent.wire.study import EarlyStopping, Federation

LOWER_IS_BETTER: Final = frozenset({"loss", "calibration_error"})


class SiteResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one site reported in one round."""

    site: str
    rows: int
    snapshot: bytes
    metrics: tuple[MetricValue, ...]


class RoundResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a closed round gave: the combined metrics, and each site's."""

    round: int
    kind: RoundKind
    rows: int
    combined: tuple[MetricValue, ...]
    sites: tuple[SiteResult, ...]


def combine(sites: Iterable[SiteResult]) -> tuple[MetricValue, ...]:
    """Each metric's mean over the sites that report it, weighted by the patients that it is over."""
    collected: dict[str, list[MetricValue]] = {}
    for site in sorted(sites, key=lambda site: site.site):
        for metric in site.metrics:
            if metric.count > 0 and math.isfinite(metric.value):
                collected.setdefault(metric.name, []).append(metric)
    return tuple(_weighted(name, values) for name, values in sorted(collected.items()))


def _weighted(name: str, values: Sequence[MetricValue]) -> MetricValue:
    count = sum(each.count for each in values)
    return MetricValue(
        name=name, value=math.fsum(each.value * each.count for each in values) / count, count=count
    )


def round_result(number: int, kind: RoundKind, sites: Iterable[SiteResult]) -> RoundResult:
    """The round's result from what its sites reported."""
    ordered = tuple(sorted(sites, key=lambda site: site.site))
    return RoundResult(
        round=number,
        kind=kind,
        rows=sum(site.rows for site in ordered),
        combined=combine(ordered),
        sites=ordered,
    )


def value_of(result: RoundResult, metric: str) -> float | None:
    """The round's combined value of that metric, or None where no site reported it."""
    return next((each.value for each in result.combined if each.name == metric), None)


def is_better(metric: str, value: float, than: float, min_delta: float = 0.0) -> bool:
    """The value improves on the other by more than ``min_delta``."""
    return value < than - min_delta if metric in LOWER_IS_BETTER else value > than + min_delta


def best_model(results: Iterable[RoundResult], metric: str) -> int | None:
    """The number of the model (0: the initial one) with the best combined metric; the earliest of equals."""
    best: tuple[int, float] | None = None
    for result in results:
        value = value_of(result, metric)
        if value is not None and (best is None or is_better(metric, value, best[1])):
            best = (result.round - 1, value)
    return best[0] if best else None


def has_stopped_improving(results: Iterable[RoundResult], metric: str, early: EarlyStopping) -> bool:
    """The metric did not improve by ``min_delta`` in the last ``patience`` rounds; rounds without it do not count."""
    best: float | None = None
    waited = 0
    for result in results:
        value = value_of(result, metric)
        if value is None:
            continue
        if best is None or is_better(metric, value, best, early.min_delta):
            best, waited = value, 0
        else:
            waited += 1
    return waited >= early.patience


def following(federation: Federation, results: Sequence[RoundResult]) -> RoundKind:
    """What comes after the last of these closed rounds: training, then one evaluation of the final model, then the end."""
    last = results[-1]
    if last.kind is not RoundKind.TRAIN:
        return RoundKind.ENDED
    early = federation.early_stopping
    stopped = early is not None and has_stopped_improving(results, federation.best_by, early)
    return RoundKind.EVALUATE if last.round >= federation.rounds or stopped else RoundKind.TRAIN


# --- tables -------------------------------------------------------------------------------------------------------

COMBINED: Final = "all"
"""What stands in the site column for the combined value (a reserved name, so no site has it)."""


class MetricRow(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table: ``model`` is the number of the model that was measured, 0 the initial one."""

    round: int
    kind: str
    model: int
    site: str
    metric: str
    value: float
    count: int


def rows(results: Iterable[RoundResult]) -> list[MetricRow]:
    """The results as one table, combined values first in each round."""
    table = []
    for result in results:
        reported: Mapping[str, tuple[MetricValue, ...]] = {
            COMBINED: result.combined, **{site.site: site.metrics for site in result.sites}
        }  # fmt: skip
        table += [
            MetricRow(
                round=result.round,
                kind=result.kind.value,
                model=result.round - 1,
                site=site,
                metric=metric.name,
                value=metric.value,
                count=metric.count,
            )
            for site, metrics in reported.items()
            for metric in metrics
        ]
    return table


def to_csv(table: Iterable[MetricRow]) -> str:
    """The table as CSV with a header line (RFC 4180, lines end with a newline alone)."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(MetricRow.__struct_fields__)
    writer.writerows(msgspec.structs.astuple(row) for row in table)
    return text.getvalue()
