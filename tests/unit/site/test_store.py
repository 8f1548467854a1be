# SPDX-License-Identifier: Apache-2.0
"""What a site keeps is what it finds after a restart, and nothing of a step that did not commit."""

import sqlite3
from pathlib import Path

import msgspec
import pytest

from fedagent.core.governor import ManualPause
from fedagent.core.state import AgentState, Record
from fedagent.errors import StorageError
from fedagent.site import store
from tests.fakes import scenes

RECORD = Record(trainer_key=b"k" * 32, pause=ManualPause(by="anna", until=1.5), yields=3, yielded_s=2.5)


def saved(folder: Path, before: AgentState, after: AgentState) -> None:
    database = store.open_database(folder)
    with database.transaction() as connection:
        store.save(connection, before, after)
    database.close()


def test_studies_and_record_come_back_as_they_were(state_folder: Path) -> None:
    after = msgspec.structs.replace(scenes.sending(), record=RECORD)
    saved(state_folder, scenes.site(), after)
    database = store.open_database(state_folder)
    assert store.load(database) == (dict(after.studies), RECORD)
    database.close()


def test_a_new_site_has_no_studies_and_an_empty_record(state_folder: Path) -> None:
    database = store.open_database(state_folder)
    assert store.load(database) == ({}, Record())
    database.close()


def test_a_later_step_takes_the_place_of_an_earlier_one(state_folder: Path) -> None:
    saved(state_folder, scenes.site(), scenes.ready())
    saved(state_folder, scenes.ready(), scenes.sending())
    database = store.open_database(state_folder)
    assert store.load(database)[0] == dict(scenes.sending().studies)
    database.close()


def test_a_step_that_fails_leaves_nothing(state_folder: Path) -> None:
    database = store.open_database(state_folder)

    def fails() -> None:
        with database.transaction() as connection:
            store.save(connection, scenes.site(), scenes.ready())
            raise ValueError("the step failed")

    with pytest.raises(ValueError, match="the step failed"):
        fails()
    assert store.load(database) == ({}, Record())
    database.close()


def test_only_what_is_durable_counts_as_changed() -> None:
    before = scenes.ready()
    assert not store.changed(before, msgspec.structs.replace(before, connected=True, silent_since=1.0))
    assert store.changed(before, msgspec.structs.replace(before, record=RECORD))
    assert store.changed(before, scenes.sending())


def test_damaged_state_is_said_and_not_guessed(state_folder: Path) -> None:
    saved(state_folder, scenes.site(), scenes.ready())
    with sqlite3.connect(state_folder / "site.sqlite") as connection:
        connection.execute("UPDATE study SET state = x'00'")
    connection.close()
    database = store.open_database(state_folder)
    with pytest.raises(StorageError, match="cannot be read"):
        store.load(database)
    database.close()


def test_state_of_a_newer_version_is_refused(state_folder: Path) -> None:
    store.open_database(state_folder).close()
    with sqlite3.connect(state_folder / "site.sqlite") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StorageError, match="newer fedagent"):
        store.open_database(state_folder)
