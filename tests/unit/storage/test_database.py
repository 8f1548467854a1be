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
from fedagent.storage.database import Database, state_version
from fedagent.storage.failpoints import Failpoint
from tests.fakes.small_disk import small_disk

SCHEMA = "CREATE TABLE fact (text TEXT PRIMARY KEY) STRICT"

NEXT = "CREATE TABLE fact (text TEXT PRIMARY KEY, length INTEGER NOT NULL) STRICT"
STEP = """
CREATE TABLE new_fact (text TEXT PRIMARY KEY, length INTEGER NOT NULL) STRICT;
INSERT INTO new_fact SELECT text, length(text) FROM fact;
DROP TABLE fact;
ALTER TABLE new_fact RENAME TO fact
"""
"""To version 2."""

COMMIT = """
import sys
from pathlib import Path
from fedagent.storage.database import Database
from fedagent.storage.failpoints import Failpoint
points = {"before_commit": Failpoint.SITE_BEFORE_COMMIT, "after_commit": Failpoint.SITE_AFTER_COMMIT}
with Database(Path(sys.argv[1]), sys.argv[2], **points).transaction() as connection:
    connection.execute("INSERT INTO fact VALUES ('kept')")
"""


def opened(path: Path, schema: str = SCHEMA, steps: tuple[str, ...] = ()) -> Database:
    return Database(
        path,
        schema,
        steps=steps,
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
    path = state_folder / "state.db"
    opened(path, NEXT, (STEP,)).close()
    before = contents(state_folder)
    with pytest.raises(StorageError) as refused:
        opened(path)
    said = "was written by a newer fedagent (state version 2, this one knows 1): nothing was changed; upgrade again"
    assert str(refused.value) == f"{path} {said}"
    assert refused.value.exit_code == 78
    assert contents(state_folder) == before


def test_a_newer_version_whose_program_was_killed_is_not_touched(state_folder: Path) -> None:
    """Its log may hold what its file lacks, the version too; SQLite's index of the log (-shm) is made by whoever reads."""
    path = state_folder / "state.db"
    opened(path).close()
    environment = {
        **os.environ,
        "FEDAGENT_FAILPOINT": "site-after-commit",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = [sys.executable, "-c", UPGRADE, str(path), NEXT, STEP]
    died = subprocess.run(command, env=environment, check=False)
    assert died.returncode == -signal.SIGKILL
    assert path.with_name("state.db-wal").stat().st_size > 0
    before = contents(state_folder)
    with pytest.raises(StorageError, match="newer fedagent"):
        opened(path)
    assert contents(state_folder) == before


# --- an earlier version ---------------------------------------------------------------------------------------------

UPGRADE = """
import sys
from pathlib import Path
from fedagent.storage.database import Database
from fedagent.storage.failpoints import Failpoint
points = {"before_commit": Failpoint.SITE_BEFORE_COMMIT, "after_commit": Failpoint.SITE_AFTER_COMMIT}
Database(Path(sys.argv[1]), sys.argv[2], steps=(sys.argv[3],), **points)
"""


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith("-shm")}


@pytest.fixture
def earlier(state_folder: Path) -> Path:
    """A database of version 1 with a row."""
    path = state_folder / "state.db"
    database = opened(path)
    with database.transaction() as connection:
        connection.execute("INSERT INTO fact VALUES ('kept')")
    database.close()
    return path


def rows(database: Database) -> list[tuple[object, ...]]:
    return database.connection.execute("SELECT * FROM fact").fetchall()


def test_state_of_an_earlier_version_is_brought_up_to_date(earlier: Path) -> None:
    for _ in range(2):
        database = opened(earlier, NEXT, (STEP,))
        assert rows(database) == [("kept", 4)]
        database.close()
        assert state_version(earlier) == 2


def test_all_steps_are_made_that_lack(earlier: Path) -> None:
    last = "UPDATE fact SET length = length + 1"
    database = opened(earlier, NEXT, (STEP, last))
    assert rows(database) == [("kept", 5)]
    database.close()
    database = opened(earlier, NEXT, (STEP, last, last))
    assert rows(database) == [("kept", 6)]
    database.close()


def test_a_step_that_fails_leaves_the_earlier_version(earlier: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot open .*state\.db"):
        opened(earlier, NEXT, (STEP + "; DROP TABLE no_table",))
    assert state_version(earlier) == 1
    database = opened(earlier)
    assert facts(database) == ["kept"]
    database.close()


@pytest.mark.parametrize(("point", "version"), [("site-before-commit", 1), ("site-after-commit", 2)])
def test_a_program_killed_on_its_way_up_leaves_the_earlier_version_or_its_own(
    earlier: Path, point: str, version: int
) -> None:
    environment = {**os.environ, "FEDAGENT_FAILPOINT": point, "PYTHONPATH": os.pathsep.join(sys.path)}
    died = subprocess.run(
        [sys.executable, "-c", UPGRADE, str(earlier), NEXT, STEP], env=environment, check=False
    )
    assert died.returncode == -signal.SIGKILL
    assert state_version(earlier) == version
    database = opened(earlier, NEXT, (STEP,))
    assert rows(database) == [("kept", 4)]
    database.close()


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
