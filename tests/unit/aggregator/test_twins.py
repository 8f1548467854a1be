# SPDX-License-Identifier: Apache-2.0
"""Who must stop where two daemons use one identity, and that nobody must where one is only restarted or cut off."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fedagent.aggregator.store import Store
from fedagent.aggregator.twins import KEPT, hear, later


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "aggregator.sqlite")
    yield opened
    opened.close()


def told(store: Store, *instances: int, site: str = "north") -> list[set[int]]:
    """Who must stop, after each of these has spoken."""
    with store.database.transaction() as connection:
        found = [hear(connection, site, bytes([each]) * 32) for each in instances]
    return [{each[0] for each in twins} for twins in found]


def test_a_line_that_is_cut_again_and_again_is_no_twin(store: Store) -> None:
    assert told(store, *[1] * 50) == [set()] * 50


def test_a_daemon_that_restarts_again_and_again_is_no_twin(store: Store) -> None:
    assert told(store, *range(100)) == [set()] * 100
    assert told(store, *[99] * 10) == [set()] * 10
    (kept,) = store.database.connection.execute("SELECT count(*) FROM instance").fetchone()
    assert kept == KEPT


def test_the_one_that_was_there_first_stays(store: Store) -> None:
    assert told(store, 1, 2, 1, 2, 1) == [set(), set(), {2}, {2}, set()]


def test_a_twin_that_is_started_again_is_found_again(store: Store) -> None:
    assert told(store, 1, 2, 1, 3, 1, 2, 3) == [set(), set(), {2}, set(), {3}, {2}, {3}]


def test_every_twin_that_started_meanwhile_must_stop(store: Store) -> None:
    assert told(store, 1, 2, 3, 1) == [set(), set(), set(), {2, 3}]


def test_the_first_may_restart_while_its_twin_is_stopped(store: Store) -> None:
    assert told(store, 1, 2, 1, 4, 4) == [set(), set(), {2}, set(), set()]


def test_whoever_stops_the_first_has_the_second_go_on(store: Store) -> None:
    assert told(store, 1, 2, 2, 2) == [set()] * 4


def test_sites_do_not_meddle_with_each_other(store: Store) -> None:
    assert told(store, 1) == told(store, 2, site="south") == told(store, 1) == [set()]


def test_it_is_remembered_over_a_restart_of_the_aggregator(tmp_path: Path) -> None:
    first = Store(tmp_path / "aggregator.sqlite")
    told(first, 1, 2)
    first.close()
    second = Store(tmp_path / "aggregator.sqlite")
    assert told(second, 1, 2) == [{2}, {2}]
    second.close()


def test_nothing_came_later_than_an_unknown_one() -> None:
    assert later([b"a", b"b"], b"c") == ()
    assert later([b"a", b"b"], b"b") == ()
    assert later([b"a", b"b", b"c"], b"a") == (b"b", b"c")
