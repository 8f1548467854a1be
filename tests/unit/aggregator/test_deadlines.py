# SPDX-License-Identifier: Apache-2.0
"""A deadline keeps its distance, whoever sets the clock."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fedagent.aggregator.deadlines import Deadlines
from fedagent.aggregator.rounds import open_round
from fedagent.aggregator.store import Store
from fedagent.aggregator.tables import StudyPhase
from fedagent.core.facts import Instant
from fedagent.wire.messages import RoundKind
from tests.fakes.examples import STUDY

WALL = 1_750_000_000.0
LIMIT_S = STUDY.federation.deadline_s


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """With one study, whose round was opened at ``WALL``."""
    opened = Store(tmp_path / "aggregator.sqlite")
    with opened.database.transaction() as connection:
        opened.add_study(connection, STUDY, WALL)
        opened.move_study(connection, STUDY.name, StudyPhase.RUNNING, WALL)
        opened.save_round(connection, open_round(STUDY, 1, RoundKind.TRAIN, WALL))
    yield opened
    opened.close()


def remaining_s(store: Store, wall: float) -> float:
    round_ = store.current_round(STUDY.name)
    assert round_ is not None
    return round_.deadline_at - wall


@pytest.mark.parametrize("jump", [86_400.0, -86_400.0, 10_000_000.0], ids=["ahead", "back", "far ahead"])
def test_the_time_that_is_left_stays_when_the_clock_is_set(store: Store, jump: float) -> None:
    announced: list[str] = []
    deadlines = Deadlines(store, lambda record: announced.append(record.study.name))
    deadlines.mind(Instant(100.0, WALL))
    deadlines.mind(Instant(700.0, WALL + 600.0))
    assert announced == []
    deadlines.mind(Instant(760.0, WALL + 660.0 + jump))
    assert remaining_s(store, WALL + 660.0 + jump) == LIMIT_S - 660.0
    deadlines.mind(Instant(820.0, WALL + 720.0))
    assert remaining_s(store, WALL + 720.0) == LIMIT_S - 720.0
    assert announced == [STUDY.name] * 2


def test_a_clock_that_went_back_while_nobody_looked_makes_no_round_longer_than_the_study_allows(
    store: Store,
) -> None:
    Deadlines(store, lambda _: None).mind(Instant(5.0, WALL - 86_400.0))
    assert remaining_s(store, WALL - 86_400.0) == LIMIT_S


def test_a_round_that_is_over_keeps_its_deadline(store: Store) -> None:
    with store.database.transaction() as connection:
        store.move_study(connection, STUDY.name, StudyPhase.ENDED, WALL)
    deadlines = Deadlines(store, lambda _: None)
    deadlines.mind(Instant(100.0, WALL))
    deadlines.mind(Instant(101.0, WALL + 86_400.0))
    assert remaining_s(store, WALL) == LIMIT_S
