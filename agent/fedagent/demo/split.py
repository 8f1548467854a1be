# SPDX-License-Identifier: Apache-2.0
"""Deals one table of patients out to hospitals, as unlike each other as real ones.

Rule: pure Python, decided by the seed alone; every patient goes to exactly one hospital, and none is too small for the
study's rules.
"""

import csv
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Final

from fedagent.conditions.commands import DEMO_PATIENTS
from fedagent.errors import UsageError

LEAST_ROWS: Final = 30
LEAST_OF_CLASS: Final = 12
"""So that a study's split leaves both classes on both sides."""

LARGEST_SHARE: Final = 0.20
SMALLEST_SHARE: Final = 0.60
"""Malignant of all, in the largest hospital (which screens) and the smallest (to which others refer)."""

Row = dict[str, str]


def split_hospitals(table: Path, folder: Path, *, names: Sequence[str], seed: int) -> list[Path]:
    """One CSV file a hospital, in the order of their names; the first is the largest.

    Args:
        table: with a column ``diagnosis``, ``malignant`` or ``benign``.
        folder: made if need be.

    Raises:
        UsageError: too few patients for so many hospitals.
    """
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, own in zip(names, deal(rows, len(names), seed), strict=True):
        paths.append(folder / f"{name}.csv")
        with paths[-1].open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(own)
    return paths


def deal(rows: Sequence[Row], hospitals: int, seed: int) -> list[list[Row]]:
    """The rows of each hospital: sizes fall evenly from the first to the last, the share of malignant ones rises.

    Raises:
        UsageError: too few patients for so many hospitals.
    """
    random = Random(seed)  # noqa: S311 (a demonstration's shuffle is no secret)
    malignant, benign = (
        random.sample(own, len(own))
        for own in (
            [row for row in rows if row["diagnosis"] == "malignant"],
            [row for row in rows if row["diagnosis"] != "malignant"],
        )
    )
    most = min(len(rows) // LEAST_ROWS, len(malignant) // LEAST_OF_CLASS, len(benign) // LEAST_OF_CLASS)
    if not 1 <= hospitals <= most:
        raise UsageError(DEMO_PATIENTS(patients=len(rows), most=most, hospitals=hospitals))
    dealt = []
    for size, ill in zip(*_plan(len(rows), len(malignant), hospitals), strict=True):
        own = [malignant.pop() for _ in range(ill)] + [benign.pop() for _ in range(size - ill)]
        dealt.append(random.sample(own, size))
    return dealt


def _plan(rows: int, malignant: int, hospitals: int) -> tuple[list[int], list[int]]:
    """How many rows each hospital gets, and how many of them are malignant."""
    weights = range(hospitals, 0, -1)
    spare = rows - hospitals * LEAST_ROWS
    sizes = [LEAST_ROWS + spare * weight // sum(weights) for weight in weights]
    sizes[0] += rows - sum(sizes)
    step = (SMALLEST_SHARE - LARGEST_SHARE) / max(hospitals - 1, 1)
    ill = []
    for place, size in enumerate(sizes):
        wanted = round(size * (LARGEST_SHARE + place * step))
        ill.append(min(max(wanted, LEAST_OF_CLASS), size - LEAST_OF_CLASS))
    for place in cycle(range(hospitals)):  # one by one, until all and no more are dealt
        missing = malignant - sum(ill)
        if missing == 0:
            break
        moved = ill[place] + (1 if missing > 0 else -1)
        if LEAST_OF_CLASS <= moved <= sizes[place] - LEAST_OF_CLASS:
            ill[place] = moved
    return sizes, ill
