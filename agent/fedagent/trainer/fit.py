# SPDX-License-Identifier: Apache-2.0
"""Whether a snapshot fits a study, in plain words.

Rule: says names and counts, never a value; counts below ten are not told. It judges by the very code that the task
prepares its rows with, so that what fits here is trained.
"""

import difflib
from collections.abc import Mapping
from typing import assert_never

import msgspec
import numpy as np

from fedagent.conditions.condition import Said
from fedagent.conditions.data import (
    CLASS_ABSENT,
    COLUMN_LACKING,
    COLUMN_LACKING_NEAR,
    EVERY_DATASET_FITS,
    TOO_FEW_TEST_PATIENTS,
)
from fedagent.conditions.trainer import TOO_FEW_ROWS
from fedagent.journal import coded
from fedagent.trainer.rows import MaskedColumn, read_columns
from fedagent.trainer.small_counts import few
from fedagent.trainer.snapshots import SnapshotRecord
from fedagent.trainer.tasks import TaskError
from fedagent.trainer.tasks.preparation import Encoded, columns_needed, encode, select
from fedagent.wire.study import (
    Boolean,
    Category,
    Column,
    ColumnSplit,
    Identity,
    Numeric,
    Study,
    TabularClassifier,
)

Count = int | str
"""A number, or "fewer than 10"."""

Table = Mapping[str, MaskedColumn]


class ColumnFit(msgspec.Struct, frozen=True, kw_only=True):
    """One column that the study needs.

    Attributes:
        problem: why the study cannot use it at all.
        missing: rows without a value.
        unusable: rows whose value the study does not accept, so that it counts as missing.
        unusable_because: what such a value is.
    """

    column: str
    problem: Said | None = None
    missing: Count = 0
    unusable: Count = 0
    unusable_because: str = ""


class ClassFit(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of one class of the label."""

    name: str
    rows: Count


class SideFit(msgspec.Struct, frozen=True, kw_only=True):
    """Rows that count, for training or for test."""

    rows: Count
    patients: Count
    classes: tuple[ClassFit, ...]


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer; ``problems`` is empty where the dataset fits."""

    dataset: str
    snapshot: str
    study: str
    rows: Count
    fits: bool
    columns: tuple[ColumnFit, ...] = ()
    train: SideFit | None = None
    test: SideFit | None = None
    problems: tuple[Said, ...] = ()
    notes: tuple[Said, ...] = ()


def check_fit(study: Study, record: SnapshotRecord) -> Fit:
    """How the snapshot fits the study.

    Raises:
        DataError: the snapshot's file cannot be read.
    """
    if isinstance(study.task, Identity):
        return _fit(study, record, notes=(EVERY_DATASET_FITS(),))
    task = study.task
    lacking = _lacking_columns(task, record)
    needed = [name for name in columns_needed(task) if name not in {each.column for each in lacking}]
    table = read_columns(record.path, needed)
    columns = (*lacking, *(_column_fit(column, table) for column in _needed(task) if column.name in table))
    problems = tuple(each.problem for each in columns if each.problem)
    if problems:
        return _fit(study, record, columns=columns, problems=problems)
    try:
        chosen = select(task, table)
    except TaskError as error:
        return _fit(study, record, columns=columns, problems=(error.said,))
    objections, notes = _judge_rows(study, task, chosen.train, chosen.test)
    train, test = _side(task, chosen.train), _side(task, chosen.test)
    return msgspec.structs.replace(
        _fit(study, record, columns=columns, problems=tuple(objections), notes=tuple(notes)),
        train=train,
        test=test,
    )


def fit_text(fit: Fit) -> str:
    """The answer for people, several lines."""
    lines = [f"dataset {fit.dataset} (snapshot {fit.snapshot[:12]}, {fit.rows} rows) for study {fit.study}:"]
    width = max((len(each.column) for each in fit.columns), default=0)
    lines += [f"  {each.column:<{width}}  {_column_text(each)}" for each in fit.columns]
    for name, side in (("training", fit.train), ("test", fit.test)):
        if side is not None:
            classes = ", ".join(f"{each.name}: {each.rows}" for each in side.classes)
            lines.append(f"{name}: {side.rows} rows of {side.patients} patients ({classes})")
    lines += [f"note: {note}" for note in fit.notes]
    lines += [f"problem: {coded(problem)}" for problem in fit.problems]
    lines.append("The dataset fits the study." if fit.fits else "The dataset does not fit the study.")
    return "\n".join(lines)


def _fit(
    study: Study,
    record: SnapshotRecord,
    *,
    columns: tuple[ColumnFit, ...] = (),
    problems: tuple[Said, ...] = (),
    notes: tuple[Said, ...] = (),
) -> Fit:
    return Fit(
        dataset=record.dataset,
        snapshot=record.digest.hex(),
        study=study.name,
        rows=few(record.rows),
        fits=not problems,
        columns=columns,
        problems=problems,
        notes=notes,
    )


def _needed(task: TabularClassifier) -> tuple[Column, ...]:
    """All that a row must have, as columns: the features, the label, and on which side it is."""
    needed = {column.name: column for column in task.columns}
    needed.setdefault(task.label.column, Category(name=task.label.column, categories=task.label.classes))
    if isinstance(task.split, ColumnSplit):
        sides = (task.split.train, task.split.test)
        needed.setdefault(task.split.column, Category(name=task.split.column, categories=sides))
    return tuple(needed.values())


def _lacking_columns(task: TabularClassifier, record: SnapshotRecord) -> tuple[ColumnFit, ...]:
    known = [column.name for column in record.columns]
    lacking = []
    for column in _needed(task):
        if column.name not in known:
            near = difflib.get_close_matches(column.name, known, n=1)
            said = (
                COLUMN_LACKING_NEAR(column=column.name, near=near[0])
                if near
                else COLUMN_LACKING(column=column.name)
            )
            lacking.append(ColumnFit(column=column.name, problem=said))
    return tuple(lacking)


def _column_fit(column: Column, table: Table) -> ColumnFit:
    stored = table[column.name]
    known = ~np.ma.getmaskarray(stored)
    try:
        usable = ~np.isnan(encode(column, stored))
    except TaskError as error:
        return ColumnFit(column=column.name, problem=error.said)
    return ColumnFit(
        column=column.name,
        missing=few(int(np.sum(~known))),
        unusable=few(int(np.sum(known & ~usable))),
        unusable_because=_unusable_because(column),
    )


def _unusable_because(column: Column) -> str:
    match column:
        case Numeric(minimum=minimum, maximum=maximum):
            low, high = ("" if limit is None else f"{limit:g}" for limit in (minimum, maximum))
            return f"outside {low or 'any'} to {high or 'any'}"
        case Category():
            return "none of the study's values"
        case Boolean():
            return "neither true nor false"
        case _:
            assert_never(column)


def _side(task: TabularClassifier, rows: Encoded) -> SideFit:
    counts = np.bincount(rows.labels, minlength=len(task.label.classes)).tolist()
    classes = (
        ClassFit(name=name, rows=few(count)) for name, count in zip(task.label.classes, counts, strict=True)
    )
    return SideFit(rows=few(len(rows.labels)), patients=few(rows.patients), classes=tuple(classes))


def _judge_rows(
    study: Study, task: TabularClassifier, train: Encoded, test: Encoded
) -> tuple[list[Said], list[Said]]:
    """What keeps the study from training here, and what else people should know."""
    cell = study.privacy.minimum_cell
    problems, notes = [], []
    if train.patients < cell:
        problems.append(TOO_FEW_ROWS(minimum=cell))
    absent = [name for place, name in enumerate(task.label.classes) if place not in train.labels]
    if absent:
        notes.append(CLASS_ABSENT(classes=", ".join(absent), column=task.label.column))
    if test.patients < cell:
        notes.append(TOO_FEW_TEST_PATIENTS(minimum=cell))
    return problems, notes


def _column_text(column: ColumnFit) -> str:
    if column.problem is not None:
        return "does not fit"
    parts = []
    if column.missing:
        parts.append(f"{column.missing} rows have no value")
    if column.unusable:
        parts.append(f"{column.unusable} rows are {column.unusable_because}, and count as missing")
    return "; ".join(parts) or "fits"
