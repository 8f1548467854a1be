# SPDX-License-Identifier: Apache-2.0
"""The tables of every state version, and the way from each to ours.

tests/data/golden/state/NAME-vN.sql holds the tables of version N. A test that fails here says: the state of the version
before cannot be opened. Write the step that brings it to the new tables, and the new tables' file (WRITE_STATE=1).
"""

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from fedagent.aggregator import schema as aggregator
from fedagent.aggregator.store import Store
from fedagent.site import store as site
from fedagent.storage.database import Database, version_after

GOLDEN: Final = Path(__file__).parents[2] / "data" / "golden" / "state"
VERSIONS: Final = {"aggregator": version_after(aggregator.STEPS), "site": 1}
OPEN: Final[dict[str, Callable[[Path], Database]]] = {
    "aggregator": lambda folder: Store(folder / "aggregator.sqlite").database,
    "site": site.open_database,
}


def tables(database: Database) -> str:
    """Each table as it was written, one statement a line; not how."""
    found = database.connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name")
    return "".join(f"{' '.join(sql.replace(chr(34), '').split())};\n" for (sql,) in found)


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
    connection = sqlite3.connect(state_folder / f"{name}.sqlite", isolation_level=None)
    connection.executescript((GOLDEN / f"{name}-v{version}.sql").read_text())
    connection.execute(f"PRAGMA user_version={version}")
    connection.close()
    database = OPEN[name](state_folder)
    assert tables(database) == (GOLDEN / f"{name}-v{VERSIONS[name]}.sql").read_text()
    assert database.connection.execute("PRAGMA foreign_key_check").fetchall() == []
    assert database.connection.execute("PRAGMA user_version").fetchone() == (VERSIONS[name],)
    database.close()


def test_every_version_has_its_tables() -> None:
    kept = {path.name for path in GOLDEN.glob("*.sql")}
    assert kept == {
        f"{name}-v{version}.sql" for name, last in VERSIONS.items() for version in range(1, last + 1)
    }
