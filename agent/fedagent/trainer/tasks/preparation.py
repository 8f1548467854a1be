# SPDX-License-Identifier: Apache-2.0
"""From a snapshot's columns to features and labels, by the study's declaration and nothing else.

Rule: what a feature is depends on the row, the declaration and (mean, normalisation) the training rows only: never on
the test rows, so that evaluation is honest. Rows keep the snapshot's order. No error text holds a value.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Final, assert_never

import msgspec
import numpy as np
from numpy.typing import NDArray

from fedagent.conditions.data import COLUMN_NOT_TEXT, COLUMN_UNFIT
from fedagent.trainer.datasets import as_number
from fedagent.trainer.rows import MaskedColumn
from fedagent.trainer.snapshots import PATIENT, SPLIT
from fedagent.trainer.tasks import TaskError
from fedagent.wire.messages import Reason
from fedagent.wire.study import (
    Boolean,
    Category,
    Column,
    ColumnSplit,
    FileSplit,
    FixedNormalisation,
    NoNormalisation,
    Numeric,
    SeededSplit,
    SiteNormalisation,
    TabularClassifier,
    feature_count,
)

Floats = NDArray[np.float64]
Table = Mapping[str, MaskedColumn]

EPSILON: Final = 1e-9
"""Added to the standard deviation, as FLamby does (du Terrail et al. 2022, Fed-Heart-Disease)."""


class Encoded(msgspec.Struct, frozen=True, eq=False):
    """Rows as numbers before normalisation.

    Attributes:
        values: one a column: the number, 1.0 or 0.0, or the category's place; NaN is missing. Shape (rows, columns).
        labels: class numbers, shape (rows,).
        patients: how many different ones the rows are of.
    """

    values: Floats
    labels: NDArray[np.int64]
    patients: int


class Selection(msgspec.Struct, frozen=True, eq=False):
    """The rows that count, on their two sides."""

    train: Encoded
    test: Encoded


class Statistics(msgspec.Struct, frozen=True, eq=False):
    """What the training rows say about every row.

    Attributes:
        fill: what a missing value becomes, shape (columns,); a missing category becomes zeros instead.
        centre: subtracted from the features, shape (features,).
        scale: the features are divided by it, shape (features,); infinite where the feature is to become 0.
    """

    fill: Floats
    centre: Floats
    scale: Floats


class Rows(msgspec.Struct, frozen=True, eq=False):
    """What a network reads: float32 features of shape (rows, features), class numbers of shape (rows,)."""

    features: NDArray[np.float32]
    labels: NDArray[np.int64]


def columns_needed(task: TabularClassifier) -> tuple[str, ...]:
    """The snapshot's columns that the task reads, each once."""
    match task.split:
        case SeededSplit():
            split: tuple[str, ...] = ()
        case ColumnSplit(column=column):
            split = (column,)
        case FileSplit():
            split = (SPLIT,)
        case _:
            assert_never(task.split)
    return tuple(dict.fromkeys((*(each.name for each in task.columns), task.label.column, PATIENT, *split)))


def reads_training_rows(task: TabularClassifier) -> bool:
    """Whether test rows can be prepared only beside training rows."""
    return task.missing == "mean" or isinstance(task.normalisation, SiteNormalisation)


def select(task: TabularClassifier, table: Table) -> Selection:
    """The rows with a label, a side and (where missing means ``drop``) nothing missing.

    Args:
        table: every column of ``columns_needed``.

    Raises:
        TaskError: a column holds another type than the study says.
    """
    places = _places(task.label.classes, table[task.label.column], task.label.column)
    values = np.stack([encode(column, table[column.name]) for column in task.columns], axis=1)
    keep = ~np.isnan(places)
    if task.missing == "drop":
        keep &= ~np.isnan(values).any(axis=1)
    labels, values, patients = (
        places[keep].astype(np.int64),
        values[keep],
        np.ma.getdata(table[PATIENT])[keep],
    )
    sides = _sides(task, {name: column[keep] for name, column in table.items()}, labels)
    train, test = (
        Encoded(values[sides == side], labels[sides == side], len(np.unique(patients[sides == side])))
        for side in (0, 1)
    )
    return Selection(train, test)


# --- columns to numbers -------------------------------------------------------------------------------------------


def encode(column: Column, stored: MaskedColumn) -> Floats:
    """The column's values as numbers, NaN where missing or not what the column accepts, shape (rows,).

    Raises:
        TaskError: the column holds another type than the study says.
    """
    match column:
        case Numeric():
            values = _numbers(stored, column.name, "a number")
            low = -np.inf if column.minimum is None else column.minimum
            high = np.inf if column.maximum is None else column.maximum
            return np.where(np.isfinite(values) & (values >= low) & (values <= high), values, np.nan)
        case Boolean():
            values = _numbers(stored, column.name, "a boolean (or 1 and 0)")
            return np.where((values == 0.0) | (values == 1.0), values, np.nan)
        case Category():
            return _places(column.categories, stored, column.name)
        case _:
            assert_never(column)


def _numbers(stored: MaskedColumn, name: str, wanted: str) -> Floats:
    kind = np.ma.getdata(stored).dtype.kind
    if kind not in ("fiu" if wanted == "a number" else "fiub"):
        raise _unfit(name, wanted, kind)
    return np.asarray(np.ma.filled(stored.astype(np.float64), np.nan), dtype=np.float64)


def _places(options: tuple[str, ...], stored: MaskedColumn, name: str) -> Floats:
    """Which of the options each value is, NaN for none of them."""
    data, known = np.ma.getdata(stored), ~np.ma.getmaskarray(stored)
    numbers = [as_number(option) for option in options]
    keys: dict[Any, int] = {}
    for place, (option, number) in enumerate(zip(options, numbers, strict=True)):
        keys.setdefault(option if None in numbers else number, place)
    if None in numbers and data.dtype.kind in "fiu":
        raise TaskError(Reason.DATA_DOES_NOT_FIT, COLUMN_NOT_TEXT(column=name, held=_held(data.dtype.kind)))
    different, where = np.unique(data[known], return_inverse=True)
    found = [keys.get(_key(value, numeric=None not in numbers)) for value in different.tolist()]
    places = np.full(len(data), np.nan)
    places[known] = np.array([np.nan if place is None else place for place in found], dtype=np.float64)[where]
    return places


def _key(value: str | float, *, numeric: bool) -> str | float | None:
    """What the value is looked up by. A boolean is 1 and 0, or the words ``true`` and ``false``."""
    if numeric:
        return as_number(value) if isinstance(value, str) else float(value)
    return value if isinstance(value, str) else str(value).lower()


def _unfit(name: str, wanted: str, kind: str) -> TaskError:
    return TaskError(Reason.DATA_DOES_NOT_FIT, COLUMN_UNFIT(column=name, held=_held(kind), wanted=wanted))


def _held(kind: str) -> str:
    """What a column of this kind (``numpy.dtype.kind``) is called."""
    return {"f": "numbers", "i": "numbers", "u": "numbers", "b": "booleans"}.get(kind, "text")


# --- training and test rows -----------------------------------------------------------------------------------------


def _sides(task: TabularClassifier, table: Table, labels: NDArray[np.int64]) -> Floats:
    """0.0 for a training row, 1.0 for a test row, NaN for neither."""
    match task.split:
        case SeededSplit():
            return _seeded_sides(task.split, np.ma.getdata(table[PATIENT]).tolist(), labels.tolist())
        case ColumnSplit(column=column):
            return _places((task.split.train, task.split.test), table[column], column)
        case FileSplit():
            return _places(("train", "test"), table[SPLIT], SPLIT)
        case _:
            assert_never(task.split)


def _seeded_sides(split: SeededSplit, patients: list[str], labels: list[int]) -> Floats:
    """Of the patients of each class (the highest of their rows), the share with the lowest hashes is for the test."""
    classes: dict[str, int] = {}
    for patient, label in zip(patients, labels, strict=True):
        classes[patient] = max(label, classes.get(patient, 0))
    strata: dict[int, list[tuple[bytes, str]]] = {}
    key = split.seed.to_bytes(8, "big")
    for patient, label in classes.items():
        digest = hashlib.blake2b(patient.encode(), key=key, digest_size=16).digest()
        strata.setdefault(label, []).append((digest, patient))
    chosen: set[str] = set()
    for stratum in strata.values():
        share = int(split.test_ratio * len(stratum) + 0.5)
        chosen.update(patient for _, patient in sorted(stratum)[:share])
    return np.array([float(patient in chosen) for patient in patients], dtype=np.float64)


# --- numbers to features ------------------------------------------------------------------------------------------


def fit(task: TabularClassifier, train: Encoded) -> Statistics:
    """What these training rows say about the filling and the scale of every row.

    Args:
        train: at least one row, where ``reads_training_rows``.
    """
    fill = np.zeros(len(task.columns))
    centres, scales = [], []
    for index, column in enumerate(task.columns):
        values = train.values[:, index]
        known = values[~np.isnan(values)]
        if len(known):
            fill[index] = np.mean(known)
        elif isinstance(column, Numeric) and column.mean is not None:
            fill[index] = column.mean
        for feature in _expand(column, values, fill[index]):
            centre, scale = _centre_and_scale(task, column, feature)
            centres.append(centre)
            scales.append(scale)
    return Statistics(fill, np.array(centres), np.array(scales))


def _centre_and_scale(task: TabularClassifier, column: Column, feature: Floats) -> tuple[float, float]:
    match task.normalisation:
        case NoNormalisation():
            return 0.0, 1.0
        case FixedNormalisation():
            if not isinstance(column, Numeric):
                return 0.0, 1.0
            return column.mean or 0.0, column.standard_deviation or 1.0  # the study was refused without them
        case SiteNormalisation(features=features):
            if features == "numeric" and not isinstance(column, Numeric):
                return 0.0, 1.0
            if np.min(feature) == np.max(feature):  # one row is constant too: it has no standard deviation
                return float(feature[0]), np.inf
            return float(np.mean(feature)), float(np.std(feature, ddof=1)) + EPSILON
        case _:
            assert_never(task.normalisation)


def transform(task: TabularClassifier, rows: Encoded, statistics: Statistics) -> Rows:
    """The rows as the network reads them: columns in declared order, each with its features side by side."""
    features = np.empty((len(rows.labels), sum(map(feature_count, task.columns))), dtype=np.float32)
    at = 0
    for index, column in enumerate(task.columns):
        for feature in _expand(column, rows.values[:, index], statistics.fill[index]):
            features[:, at] = (feature - statistics.centre[at]) / statistics.scale[at]
            at += 1
    return Rows(features, rows.labels)


def _expand(column: Column, values: Floats, fill: float) -> Iterator[Floats]:
    """The column's features one by one, float64; one at a time, so that a thousand categories need no wide table."""
    if not isinstance(column, Category):
        yield np.where(np.isnan(values), fill, values)
        return
    for place, category in enumerate(column.categories):
        if category != column.baseline:
            yield (values == place).astype(np.float64)
