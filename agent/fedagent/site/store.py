# SPDX-License-Identifier: Apache-2.0
"""What the site daemon keeps over restarts: its studies, its record, its outbox and its correspondence.

Rule: a change of a table, or of ``StudyState`` or ``Record`` by more than a field with a default, is a step that brings the
version before to it; a step that was released is not changed any more. ``save`` runs inside the step's one transaction and writes only what the step changed.
"""

import sqlite3
from pathlib import Path
from typing import Final

import msgspec

from fedagent.conditions.site import STATE_UNREADABLE
from fedagent.core.state import AgentState, Record, StudyState
from fedagent.errors import StorageError
from fedagent.storage.database import Database
from fedagent.storage.failpoints import Failpoint
from fedagent.transport.mailbox import SCHEMA as MAILBOX_SCHEMA
from fedagent.transport.outbox import SCHEMA as OUTBOX_SCHEMA

_SCHEMA: Final = f"""
CREATE TABLE study (name TEXT PRIMARY KEY, state BLOB NOT NULL) STRICT;
CREATE TABLE record (only INTEGER PRIMARY KEY CHECK (only = 1), state BLOB NOT NULL) STRICT;
{MAILBOX_SCHEMA}
{OUTBOX_SCHEMA}
"""

STEPS: Final = ("UPDATE study SET state = without_field(state, 'note')",)
"""To version 2: a note is a condition; the next step writes it anew."""


def open_database(folder: Path) -> Database:
    """The daemon's database below its state folder.

    Raises:
        StorageError: damaged, not writable, or of a newer version.
    """
    return Database(
        folder / "site.sqlite",
        _SCHEMA,
        steps=STEPS,
        before_commit=Failpoint.SITE_BEFORE_COMMIT,
        after_commit=Failpoint.SITE_AFTER_COMMIT,
    )


def load(database: Database) -> tuple[dict[str, StudyState], Record]:
    """The studies and the record as the last step left them.

    Raises:
        StorageError: they cannot be read.
    """
    try:
        rows = database.connection.execute("SELECT name, state FROM study").fetchall()
        record = database.connection.execute("SELECT state FROM record").fetchone()
        studies = {name: msgspec.msgpack.decode(state, type=StudyState) for name, state in rows}
        return studies, msgspec.msgpack.decode(record[0], type=Record) if record else Record()
    except (sqlite3.Error, msgspec.DecodeError) as error:
        raise StorageError(STATE_UNREADABLE(reason=error)) from error


def save(connection: sqlite3.Connection, before: AgentState, after: AgentState) -> None:
    """Writes the studies and the record that differ."""
    for name, study in after.studies.items():
        if before.studies.get(name) != study:
            connection.execute(
                "INSERT OR REPLACE INTO study VALUES (?, ?)", (name, msgspec.msgpack.encode(study))
            )
    if before.record != after.record:
        connection.execute(
            "INSERT OR REPLACE INTO record VALUES (1, ?)", (msgspec.msgpack.encode(after.record),)
        )


def changed(before: AgentState, after: AgentState) -> bool:
    """Whether a step left anything to save."""
    return before.studies != after.studies or before.record != after.record
