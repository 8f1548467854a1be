# SPDX-License-Identifier: Apache-2.0
"""A study's status from the store: what it waits for, since when, and what went wrong last with each site."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from fedagent.aggregator import round_events as on
from fedagent.aggregator import studies
from fedagent.aggregator.part_report import ErrorView
from fedagent.aggregator.reports import StudyStatus, study_status
from fedagent.aggregator.rounds import Round, open_round, step
from fedagent.aggregator.store import Store
from fedagent.aggregator.tables import RoundPhase, StudyPhase
from fedagent.conditions.aggregator import CENTRE_SAYS
from fedagent.core.reasons import REASONS
from fedagent.wire.messages import Reason, RoundKind
from tests.fakes.examples import BLOB, KEY, STUDY

A, B, C = STUDY.federation.sites
NOW = 1000.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "aggregator.sqlite")
    studies.create(made, STUDY, NOW)
    yield made
    made.close()


def seen(store: Store, lack: str = "") -> StudyStatus:
    return study_status(store, store.study(STUDY.name), NOW + 60, lack=lack)


def save(store: Store, round_: Round) -> None:
    with store.database.transaction() as connection:
        store.save_round(connection, round_)


def played(round_: Round, *events: on.Event, now: float = NOW + 10) -> Round:
    for event in events:
        round_, _ = step(round_, event, now)
    return round_


def first_round(store: Store, *events: on.Event) -> Round:
    studies.start(store, STUDY.name, NOW + 1)
    round_ = played(open_round(STUDY, 1, RoundKind.TRAIN, NOW + 2), *events)
    save(store, round_)
    return round_


def test_a_created_study_waits_for_its_start_and_a_started_one_for_its_model(store: Store) -> None:
    status = seen(store)
    assert (status.since, status.waits_for) == (NOW, "its start: fedaggregator study start heart-1")
    studies.start(store, STUDY.name, NOW + 1)
    status = seen(store)
    assert (status.phase, status.since, status.waits_for) == (
        "running",
        NOW + 1,
        "the initial model to be made",
    )
    assert (status.round, status.round_since, status.parts) == (None, None, ())


def test_an_open_round_waits_for_those_who_have_not_answered(store: Store) -> None:
    round_ = first_round(
        store, on.Offered(A, BLOB), on.Stored(A, BLOB), on.Declined(B, Reason.NO_DATASET, "none")
    )
    status = seen(store)
    assert status.waits_for == f"{C}; 1 of at least 2 updates are here"
    assert (status.round_phase, status.round_since, status.deadline_at) == (
        "open",
        NOW + 2,
        round_.deadline_at,
    )
    assert [part.since for part in status.parts] == [NOW + 10, NOW + 10, NOW + 2]


def test_a_round_of_which_too_few_take_part_says_what_becomes_of_it(store: Store) -> None:
    first_round(store, *(on.Declined(site, Reason.NO_DATASET, "none") for site in (A, B, C)))
    assert seen(store).waits_for == (
        "a site that takes part after all: too few do, and at its deadline the round is extended;"
        " 0 of at least 2 updates are here"
    )


def test_a_full_disk_is_what_a_running_study_waits_for(store: Store) -> None:
    first_round(store)
    assert seen(store, "3 MiB are free").waits_for == "room on the disk: 3 MiB are free"


def test_whoever_hears_nobody_says_nothing_of_who_is_away(store: Store) -> None:
    first_round(store)
    status = study_status(store, store.study(STUDY.name), NOW, lack="3 MiB", deaf="the broker")
    assert status.waits_for == "the broker"
    assert {part.waits_for for part in status.parts} == {""}


def test_a_full_round_waits_to_be_combined(store: Store) -> None:
    stored = [event for site in (A, B, C) for event in (on.Offered(site, BLOB), on.Stored(site, BLOB))]
    assert first_round(store, *stored).phase is RoundPhase.CLOSING
    assert seen(store).waits_for == "the updates to be combined"


def test_a_study_that_is_over_waits_for_nothing_and_says_why(store: Store) -> None:
    first_round(store)
    with store.database.transaction() as connection:
        store.move_study(
            connection, STUDY.name, StudyPhase.STOPPED, NOW + 20, CENTRE_SAYS(text="no more money")
        )
    status = seen(store)
    assert (status.waits_for, status.reason, status.since) == ("", "no more money [FA8612]", NOW + 20)


def test_why_a_round_is_still_open_is_said(store: Store) -> None:
    round_ = first_round(store)
    save(store, played(round_, on.Ticked(), now=round_.deadline_at))
    assert "so it was extended" in seen(store).reason


def test_what_went_wrong_last_with_a_site_is_known_in_the_rounds_after(store: Store) -> None:
    first_round(store, on.Declined(B, Reason.NO_DATASET, "none"), on.Joined(A, KEY))
    save(store, open_round(STUDY, 2, RoundKind.TRAIN, NOW + 20))
    errors = {part.site: part.last_error for part in seen(store).parts}
    assert errors == {
        A: None,
        B: ErrorView(code=REASONS[Reason.NO_DATASET].code, text="none", at=NOW + 10),
        C: None,
    }
    save(
        store,
        played(
            open_round(STUDY, 2, RoundKind.TRAIN, NOW + 20), on.Declined(B, Reason.CRASHED, ""), now=NOW + 30
        ),
    )
    (_, second, _) = seen(store).parts
    said = REASONS[Reason.CRASHED]()
    assert second.last_error == ErrorView(code=said.code, text=said.text, at=NOW + 30)


def test_a_report_passes_through_json_whole(store: Store) -> None:
    first_round(store)
    status = seen(store)
    assert msgspec.json.decode(msgspec.json.encode(status), type=StudyStatus) == status
