# SPDX-License-Identifier: Apache-2.0
"""The tables of every state version, and the way from each to ours.

tests/data/golden/state/NAME-vN.sql holds the tables of version N, NAME-vN-rows.sql what a program of that version wrote into them:
a study in every phase at the site, a round on its way at the aggregator. A test that fails here says: the state of the version
before cannot be opened. Write the step that brings it to the new tables, and the new tables' file (WRITE_STATE=1).
"""

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import pytest

from fedagent.aggregator import round_events
from fedagent.aggregator import schema as aggregator
from fedagent.aggregator.rounds import step
from fedagent.aggregator.store import Store
from fedagent.aggregator.tables import PartPhase, StudyPhase
from fedagent.core import agent
from fedagent.core import events as on
from fedagent.core.round import Phase
from fedagent.site import store as site
from fedagent.storage.database import Database, version_after
from fedagent.transport.outbox import Outbox
from tests.fakes import examples, scenes

GOLDEN: Final = Path(__file__).parents[2] / "data" / "golden" / "state"
VERSIONS: Final = {"aggregator": version_after(aggregator.STEPS), "site": version_after(site.STEPS)}
OPEN: Final[dict[str, Callable[[Path], Database]]] = {
    "aggregator": lambda folder: Store(folder / "aggregator.sqlite").database,
    "site": site.open_database,
}


def tables(database: Database) -> str:
    """Each table as it was written, one statement a line; not how."""
    found = database.connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name")
    return "".join(f"{' '.join(sql.replace(chr(34), '').split())};\n" for (sql,) in found)


def make(folder: Path, name: str, version: int, *files: str) -> None:
    """The database as that version left it."""
    connection = sqlite3.connect(folder / f"{name}.sqlite", isolation_level=None)
    for file in (f"{name}-v{version}.sql", *files):
        connection.executescript((GOLDEN / file).read_text())
    connection.execute(f"PRAGMA user_version={version}")
    connection.close()


@pytest.mark.parametrize("name", OPEN)
def test_the_tables_of_this_version_are_what_they_were(state_folder: Path, name: str) -> None:
    database = OPEN[name](state_folder)
    found = tables(database)
    database.close()
    path = GOLDEN / f"{name}-v{VERSIONS[name]}.sql"
    if "WRITE_STATE" in os.environ and not path.exists():
        path.write_text(found)
    assert found == path.read_text()


EARLIER: Final = [(name, version) for name, last in VERSIONS.items() for version in range(1, last)]


@pytest.mark.parametrize(("name", "version"), EARLIER)
def test_the_tables_of_an_earlier_version_become_ours(state_folder: Path, name: str, version: int) -> None:
    make(state_folder, name, version)
    database = OPEN[name](state_folder)
    assert tables(database) == (GOLDEN / f"{name}-v{VERSIONS[name]}.sql").read_text()
    assert database.connection.execute("PRAGMA foreign_key_check").fetchall() == []
    assert database.connection.execute("PRAGMA user_version").fetchone() == (VERSIONS[name],)
    database.close()


def test_every_version_has_its_tables() -> None:
    kept = {path.name for path in GOLDEN.glob("*-v[0-9].sql")}
    assert kept == {
        f"{name}-v{version}.sql" for name, last in VERSIONS.items() for version in range(1, last + 1)
    }


# --- what a program of an earlier version wrote ---------------------------------------------------------------------


def test_a_site_goes_on_with_the_studies_of_an_earlier_version(state_folder: Path) -> None:
    make(state_folder, "site", 1, "site-v1-rows.sql")
    database = site.open_database(state_folder)
    studies, record = site.load(database)
    owed = Outbox(database).messages()
    database.close()
    assert {study.phase for study in studies.values()} == set(Phase)
    for name, study in studies.items():
        assert name == study.name == f"study-{study.phase.name.lower()}"
        assert (study.dataset, study.payload, study.deaths) == ("cardiology", b"signed", 1)
        assert study.trainer_key == examples.KEY
        assert study.announcement.study == msgspec.structs.replace(examples.STUDY, name=name)
    spooled = studies["study-spooled"]
    assert (spooled.update, spooled.rows, spooled.metrics) == (examples.BLOB, 242, examples.METRICS)
    assert (record.yields, record.trainer_key) == (3, examples.KEY)
    assert record.pause is not None
    assert record.pause.by == "anna"
    assert [type(message).__name__ for _, message, _ in owed] == [
        "Join", "Want", "UpdateOffer", "Progress", "Decline",
    ]  # fmt: skip
    state = msgspec.structs.replace(scenes.site(), studies=studies, record=record)
    resumed, _ = agent.step(agent.resumed(state, {examples.BLOB}, scenes.at(0)), on.Connected(), scenes.at(1))
    assert resumed.studies["study-spooled"].phase is Phase.SPOOLED
    assert resumed.studies["study-training"].phase is not Phase.TRAINING


def test_an_aggregator_goes_on_with_the_round_of_an_earlier_version(state_folder: Path) -> None:
    make(state_folder, "aggregator", 1, "aggregator-v1-rows.sql")
    store = Store(state_folder / "aggregator.sqlite")
    try:
        assert [(each.study.name, each.phase, each.since) for each in store.studies()] == [
            ("heart-1", StudyPhase.RUNNING, 1000.0),
            ("transfer-1", StudyPhase.CREATED, 1001.0),
        ]
        round_ = store.current_round("heart-1")
        assert round_ is not None
        assert (round_.number, round_.opened_at, round_.since) == (3, 2000.0, 2000.0)
        assert [(part.site, part.phase, part.since) for part in round_.parts] == [
            ("clinic-a", PartPhase.STORED, 2000.0),
            ("clinic-b", PartPhase.OFFERED, 2000.0),
            ("clinic-c", PartPhase.DECLINED, 2000.0),
        ]
        assert [(each.site, each.blob) for each in store.uploads("heart-1", 3)] == [
            ("clinic-a", examples.BLOB),
            ("clinic-b", examples.OTHER),
        ]
        model = store.newest_model("heart-1")
        assert model is not None
        assert (model.number, model.reference.plaintext) == (2, examples.OTHER)
        after, _ = step(round_, round_events.Stored("clinic-b", examples.OTHER), 2500.0)
        with store.database.transaction() as connection:
            store.save_round(connection, after)
        assert store.current_round("heart-1") == after
    finally:
        store.close()
