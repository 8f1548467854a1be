# SPDX-License-Identifier: Apache-2.0
"""The database of a daemon."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fedagent.errors import NoSpaceError, StorageError
from fedagent.storage.database import Database
from fedagent.storage.failpoints import Failpoint
from tests.fakes.small_disk import small_disk

SCHEMA = "CREATE TABLE fact (text TEXT PRIMARY KEY) STRICT"


COMMIT = """
import sys
from pathlib import Path
from fedagent.storage.database import Database
from fedagent.storage.failpoints import Failpoint
points = {"before_commit": Failpoint.SITE_BEFORE_COMMIT, "after_commit": Failpoint.SITE_AFTER_COMMIT}
with Database(Path(sys.argv[1]), sys.argv[2], version=1, **points).transaction() as connection:
    connection.execute("INSERT INTO fact VALUES ('kept')")
"""


def opened(path: Path, version: int = 1) -> Database:
    return Database(
        path,
        SCHEMA,
        version=version,
        before_commit=Failpoint.SITE_BEFORE_COMMIT,
        after_commit=Failpoint.SITE_AFTER_COMMIT,
    )


def facts(database: Database) -> list[str]:
    return [text for (text,) in database.connection.execute("SELECT text FROM fact")]


def test_what_was_committed_is_there_after_a_restart(state_folder: Path) -> None:
    database = opened(state_folder / "state.db")
    with database.transaction() as connection:
        connection.execute("INSERT INTO fact VALUES ('kept')")
    database.close()
    again = opened(state_folder / "state.db")
    assert facts(again) == ["kept"]
    again.close()
    assert (state_folder / "state.db").stat().st_mode & 0o777 == 0o600


def test_a_transaction_that_fails_changes_nothing(state_folder: Path) -> None:
    database = opened(state_folder / "state.db")

    def fail() -> None:
        with database.transaction() as connection:
            connection.execute("INSERT INTO fact VALUES ('half')")
            raise ValueError("on the way")

    def break_rule() -> None:
        with database.transaction() as connection:
            connection.execute("INSERT INTO fact VALUES ('twice')")
            connection.execute("INSERT INTO fact VALUES ('twice')")

    cases: list[tuple[type[Exception], Callable[[], None]]] = [(ValueError, fail), (StorageError, break_rule)]
    for kind, act in cases:
        with pytest.raises(kind):
            act()
    assert facts(database) == []
    database.close()


def test_a_newer_version_is_refused(state_folder: Path) -> None:
    opened(state_folder / "state.db", version=2).close()
    with pytest.raises(StorageError, match="newer fedagent"):
        opened(state_folder / "state.db")


def test_a_damaged_file_is_named(state_folder: Path) -> None:
    (state_folder / "state.db").write_bytes(b"not a database" * 100)
    with pytest.raises(StorageError, match=r"state\.db"):
        opened(state_folder / "state.db")


@pytest.mark.parametrize(("point", "left"), [("site-before-commit", []), ("site-after-commit", ["kept"])])
def test_a_killed_process_leaves_all_of_a_transaction_or_none(
    state_folder: Path, point: str, left: list[str]
) -> None:
    path = state_folder / "state.db"
    opened(path).close()
    environment = {**os.environ, "FEDAGENT_FAILPOINT": point, "PYTHONPATH": os.pathsep.join(sys.path)}
    died = subprocess.run([sys.executable, "-c", COMMIT, str(path), SCHEMA], env=environment, check=False)
    assert died.returncode == -signal.SIGKILL
    database = opened(path)
    assert facts(database) == left
    database.close()


def test_a_full_database_is_an_error_of_its_own_and_leaves_no_transaction(state_folder: Path) -> None:
    database = opened(state_folder / "state.db")
    database.connection.execute("PRAGMA max_page_count=2")  # as many as it has (sqlite.org/pragma.html)
    with pytest.raises(NoSpaceError, match=r"cannot write .*state\.db: database or disk is full; free space"):
        commit(database, "x" * 100_000)
    assert not database.connection.in_transaction
    database.connection.execute("PRAGMA max_page_count=1000")
    commit(database, "kept")
    assert facts(database) == ["kept"]
    database.close()


def test_a_database_that_cannot_be_made_on_a_full_disk_says_so(state_folder: Path) -> None:
    with small_disk(state_folder / "disk", mib=1) as disk:
        disk.fill()
        with pytest.raises(NoSpaceError, match=r"state\.db"):
            opened(disk.folder / "state.db")


def commit(database: Database, text: str) -> None:
    with database.transaction() as connection:
        connection.execute("INSERT INTO fact VALUES (?)", (text,))
