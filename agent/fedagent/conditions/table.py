# SPDX-License-Identifier: Apache-2.0
"""The one table: every condition of every area, by its code."""

from collections.abc import Mapping
from types import ModuleType
from typing import Final

from fedagent.conditions import (
    aggregator,
    broker,
    commands,
    data,
    files,
    messages,
    settings,
    site,
    trainer,
)
from fedagent.conditions.condition import Condition

AREAS: Final[tuple[ModuleType, ...]] = (
    files,
    settings,
    messages,
    broker,
    trainer,
    data,
    site,
    aggregator,
    commands,
)
"""In the order of their numbers: FA1 is the first."""

RETIRED: Final[frozenset[str]] = frozenset()
"""Codes that stood in a release and are not used any more; they are never given again."""


def of_area(area: ModuleType) -> list[Condition]:
    """The area's conditions, in the order in which they are written."""
    return [each for each in vars(area).values() if isinstance(each, Condition)]


TABLE: Final[Mapping[str, Condition]] = {each.code: each for area in AREAS for each in of_area(area)}
