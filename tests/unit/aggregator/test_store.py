# SPDX-License-Identifier: Apache-2.0
"""The store: what was written is there after a restart, and nothing of a transaction that failed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fedagent.aggregator import round_events as on
from fedagent.aggregator.metrics import SiteResult
from fedagent.aggregator.rounds import Round, open_round, step
from fedagent.aggregator.store import ModelRecord, Store, Upload, running
from fedagent.aggregator.tables import StudyPhase
from fedagent.conditions.condition import Said
from fedagent.errors import StorageError, UsageError
from fedagent.wire.manifest import Manifest
from fedagent.wire.messages import MetricValue, ModelReference, Reason, RoundKind
from tests.fakes.examples import BLOB, KEY, OTHER, OTHER_STUDY, STUDY

NOW = 1000.5
MANIFEST = Manifest(size_bytes=300_000, chunk_bytes=262_144, chunks=(BLOB, OTHER))
UPLOAD = Upload(site="clinic-a", blob=BLOB, manifest=MANIFEST, key=OTHER, rows=100)
RESULT = SiteResult(
    site="clinic-a", rows=100, snapshot=OTHER, metrics=(MetricValue(name="loss", value=0.5, count=50),)
)


class Opened:
    """A store that can be closed and opened again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = Store(path)

    def again(self) -> Store:
        self.store.close()
        self.store = Store(self.path)
        return self.store


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    made = Opened(tmp_path / "aggregator.sqlite")
    with made.store.database.transaction() as connection:
        made.store.add_study(connection, STUDY, NOW)
        made.store.add_study(connection, OTHER_STUDY, NOW)
    yield made
    made.store.close()


def first_round() -> Round:
    return open_round(STUDY, 1, RoundKind.TRAIN, NOW)


def save(store: Store, round_: Round, before: Round | None = None) -> None:
    with store.database.transaction() as connection:
        store.save_round(connection, round_, before)


def test_studies_and_their_phases_survive(opened: Opened) -> None:
    with opened.store.database.transaction() as connection:
        opened.store.move_study(connection, STUDY.name, StudyPhase.STOPPED, NOW + 1, Said("FA8612", "why"))
    records = {record.study.name: record for record in opened.again().studies()}
    assert records[STUDY.name].study == STUDY
    stopped = records[STUDY.name]
    assert (stopped.phase, stopped.reason, stopped.since) == (
        StudyPhase.STOPPED,
        Said("FA8612", "why"),
        NOW + 1,
    )
    assert records[OTHER_STUDY.name].since == NOW
    assert running(records.values()) == ()


def test_a_study_that_stays_where_it_is_has_been_there_since_then(opened: Opened) -> None:
    for later in (1, 2):
        with opened.store.database.transaction() as connection:
            opened.store.move_study(connection, STUDY.name, StudyPhase.RUNNING, NOW + later)
    assert opened.again().study(STUDY.name).since == NOW + 1


def test_a_study_that_is_not_there_is_an_error_of_whoever_asks(opened: Opened) -> None:
    assert opened.store.find_study("nope") is None
    with pytest.raises(UsageError, match="no study 'nope'"):
        opened.store.study("nope")


def test_a_round_with_all_its_parts_survives(opened: Opened) -> None:
    round_ = first_round()
    save(opened.store, round_)
    for event in (
        on.Joined("clinic-a", KEY),
        on.Offered("clinic-a", BLOB),
        on.Declined("clinic-b", Reason.NO_DATASET, "none"),
    ):
        after, _ = step(round_, event, NOW)
        save(opened.store, after, round_)
        round_ = after
    assert opened.again().round(STUDY.name, 1) == round_
    assert opened.store.current_round(STUDY.name) == round_
    assert opened.store.current_round(OTHER_STUDY.name) is None
    assert opened.store.round(STUDY.name, 2) is None


def test_the_newest_round_is_the_current_one(opened: Opened) -> None:
    save(opened.store, first_round())
    second = open_round(STUDY, 2, RoundKind.EVALUATE, NOW)
    save(opened.store, second)
    assert opened.store.current_round(STUDY.name) == second


def test_what_fails_in_a_transaction_leaves_nothing(opened: Opened) -> None:
    def fail() -> None:
        with opened.store.database.transaction() as connection:
            opened.store.save_round(connection, first_round())
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert opened.store.round(STUDY.name, 1) is None


def test_progress_is_kept_beside_the_part_and_survives_its_changes(opened: Opened) -> None:
    round_ = first_round()
    save(opened.store, round_)
    with opened.store.database.transaction() as connection:
        opened.store.note_progress(connection, STUDY.name, 1, "clinic-a", "training 3/9")
    save(opened.store, step(round_, on.Joined("clinic-a", KEY), NOW)[0], round_)
    assert opened.again().progress(STUDY.name, 1)["clinic-a"] == "training 3/9"


def test_an_upload_is_kept_until_it_is_forgotten_and_then_its_key_is_gone(opened: Opened) -> None:
    store = opened.store
    with store.database.transaction() as connection:
        store.save_upload(connection, STUDY.name, 1, UPLOAD, RESULT)
    assert opened.again().uploads(STUDY.name, 1) == (UPLOAD,)
    assert opened.store.waiting_blobs() == {BLOB}
    with opened.store.database.transaction() as connection:
        opened.store.forget_upload(connection, STUDY.name, 1, "clinic-a", OTHER)
    assert opened.store.waiting_blobs() == {BLOB}
    with opened.store.database.transaction() as connection:
        opened.store.forget_upload(connection, STUDY.name, 1, "clinic-a", BLOB)
    assert opened.store.uploads(STUDY.name, 1) == ()


def test_only_results_that_counted_are_reported(opened: Opened) -> None:
    store, round_ = opened.store, first_round()
    for site in ("clinic-a", "clinic-b"):
        for event in (on.Offered(site, site.encode().ljust(32)), on.Stored(site, site.encode().ljust(32))):
            round_, _ = step(round_, event, NOW)
    save(store, round_)
    with store.database.transaction() as connection:
        store.save_upload(connection, STUDY.name, 1, UPLOAD, RESULT)
    assert store.results(STUDY.name) == ()
    closing, _ = step(round_, on.Ticked(), round_.deadline_at)
    save(store, step(closing, on.Folded(("clinic-a", "clinic-b")), NOW)[0])
    (result,) = opened.again().results(STUDY.name)
    assert (result.round, result.kind, result.sites) == (1, RoundKind.TRAIN, (RESULT,))


def test_models_survive_by_their_number(opened: Opened) -> None:
    reference = ModelReference(blob=BLOB, size_bytes=300_000, chunk_bytes=262_144, plaintext=OTHER)
    made = [
        ModelRecord(
            study=STUDY.name, number=number, reference=reference, manifest=MANIFEST, key=KEY, made_at=NOW
        )
        for number in (0, 1)
    ]
    with opened.store.database.transaction() as connection:
        for model in made:
            opened.store.add_model(connection, model)
    store = opened.again()
    assert store.models(STUDY.name) == tuple(made)
    assert store.newest_model(STUDY.name) == made[1]
    assert store.model(STUDY.name, 0) == made[0]
    assert store.model(STUDY.name, 7) is None
    assert store.newest_model(OTHER_STUDY.name) is None


def test_a_command_reads_while_the_daemon_writes(opened: Opened) -> None:
    with opened.store.database.transaction() as connection:
        opened.store.save_round(connection, first_round())
        reader = Store(opened.path)
        assert reader.current_round(STUDY.name) is None
    assert reader.current_round(STUDY.name) == first_round()
    reader.close()


def test_the_state_of_a_newer_version_is_refused(opened: Opened) -> None:
    opened.store.database.connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StorageError, match="newer"):
        opened.again()
    opened.store = Store(opened.path.with_name("other"))
