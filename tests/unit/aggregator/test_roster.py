# SPDX-License-Identifier: Apache-2.0
"""The roster: who is there and since when, also after a restart."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from fedagent.aggregator import roster
from fedagent.aggregator.roster import SiteRecord
from fedagent.aggregator.store import Store
from fedagent.conditions.condition import Said
from fedagent.wire.messages import Presence

A, B = "clinic-a", "clinic-b"
NOW = 1000.5
GONE = Presence(online=False, version="0.1.0", protocol=1)
BUSY = Presence(online=True, version="0.1.0", protocol=1, verdict="no", reason="others use the CPU")
THERE = SiteRecord(
    name=A, online=True, since=NOW, version="0.1.0", verdict="no", reason="others use the CPU", heard_at=NOW
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "aggregator.sqlite")
    with made.database.transaction() as connection:
        roster.note_presence(connection, A, BUSY, NOW)
    yield made
    made.close()


def test_what_a_site_last_said_survives_a_restart(store: Store, tmp_path: Path) -> None:
    again = Store(tmp_path / "aggregator.sqlite")
    assert roster.records(again.database.connection) == (THERE,)
    again.close()


def test_a_site_that_says_hello_again_has_been_there_since_it_came(store: Store) -> None:
    with store.database.transaction() as connection:
        roster.greeted(connection, A, "0.2.0", NOW + 1)
        roster.greeted(connection, B, "0.2.0", NOW + 1)
        roster.heard(connection, B, NOW + 2)
    first, second = roster.records(store.database.connection)
    assert first == msgspec.structs.replace(THERE, version="0.2.0", heard_at=NOW + 1)
    assert (second.name, second.since, second.heard_at, second.verdict) == (B, NOW + 1, NOW + 2, "")


def test_a_site_that_went_is_gone_since_we_heard_of_it(store: Store) -> None:
    with store.database.transaction() as connection:
        roster.note_presence(connection, A, GONE, NOW + 1)
        roster.note_presence(connection, A, GONE, NOW + 2)
    (record,) = roster.records(store.database.connection)
    assert (record.online, record.since) == (False, NOW + 1)


def refused_at(store: Store, seconds: float) -> SiteRecord:
    with store.database.transaction() as connection:
        roster.note_refused(connection, A, Said("FA1", f"bad at {seconds}"), NOW + seconds)
    return roster.records(store.database.connection)[0]


def test_a_refusal_is_noted_and_a_flood_of_them_does_not_wear_out_the_disk(store: Store) -> None:
    first = refused_at(store, 1)
    assert (first.error_code, first.error_text, first.error_at) == ("FA1", "bad at 1", NOW + 1)
    assert refused_at(store, 2) == first
    assert refused_at(store, 1 + roster.NOTE_EVERY_S).error_text == f"bad at {1 + roster.NOTE_EVERY_S}"


def test_a_clock_that_was_set_back_hides_no_refusal(store: Store) -> None:
    refused_at(store, 86_400)
    assert refused_at(store, 1).error_text == "bad at 1"
