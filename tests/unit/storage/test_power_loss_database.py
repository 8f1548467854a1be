# SPDX-License-Identifier: Apache-2.0
"""Power fails around a commit or a checkpoint: every transaction that returned is there, none by half.

SQLite syncs for itself, by what is documented and set here: journal_mode=WAL with synchronous=FULL syncs the log after each
commit (sqlite.org/pragma.html#pragma_synchronous); a checkpoint syncs the log, then writes and syncs the file, and only
then is the log written from its beginning (sqlite.org/wal.html, section 3.2 and sqlite.org/fileformat2.html, section 4);
the first sync of a new log syncs its folder, and so the file's name. What is tested is that a reader takes from a log whose
last frames are lost, in part or in any order, and from a file that was written in part, just what was committed.
"""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from fedagent.aggregator.store import Store
from fedagent.site.store import open_database
from fedagent.storage.database import Database
from fedagent.storage.failpoints import Failpoint

SCHEMA: Final = """
CREATE TABLE step (only INTEGER PRIMARY KEY CHECK (only = 1), number INTEGER NOT NULL) STRICT;
CREATE TABLE fact (step INTEGER NOT NULL, place INTEGER NOT NULL, text TEXT NOT NULL, PRIMARY KEY (step, place)) STRICT
"""
FACTS: Final = 4
SECTOR: Final = 512
LOG_HEADER: Final = 32
IMAGES: Final = 25
Files = tuple[bytes, bytes]
"""The database's file and its log."""


def opened(path: Path) -> Database:
    return Database(
        path,
        SCHEMA,
        before_commit=Failpoint.SITE_BEFORE_COMMIT,
        after_commit=Failpoint.SITE_AFTER_COMMIT,
    )


def step(database: Database, number: int) -> None:
    """A transaction of several pages: new rows, and an old one changed."""
    with database.transaction() as connection:
        connection.execute("INSERT OR REPLACE INTO step VALUES (1, ?)", (number,))
        for place in range(FACTS):
            connection.execute("INSERT INTO fact VALUES (?, ?, ?)", (number, place, f"{number} " * 900))


def files(path: Path) -> Files:
    log = path.with_name(f"{path.name}-wal")
    return path.read_bytes(), log.read_bytes() if log.exists() else b""


def mixed(before: bytes, after: bytes, dice: random.Random) -> bytes:
    """Each sector the old or the new; the file as long as either."""
    size = dice.choice([len(before), len(after)])
    sectors = [
        dice.choice([before, after])[start : start + SECTOR].ljust(min(SECTOR, size - start), b"\0")
        for start in range(0, size, SECTOR)
    ]
    return b"".join(sectors)[:size]


def found(folder: Path, image: Files) -> int:
    """The last step of an image, once all that it says is true."""
    folder.mkdir()
    path = folder / "state.db"
    path.write_bytes(image[0])
    (folder / "state.db-wal").write_bytes(image[1])
    database = opened(path)
    connection = database.connection
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    row = connection.execute("SELECT number FROM step").fetchone()
    last = row[0] if row else 0
    facts = connection.execute("SELECT step, place, text FROM fact ORDER BY step, place").fetchall()
    assert facts == [
        (number, place, f"{number} " * 900) for number in range(1, last + 1) for place in range(FACTS)
    ]
    database.close()
    return int(last)


def crashes(before: Files, after: Files, *, checkpointed: bool, dice: random.Random) -> Iterator[Files]:
    """What may be left between two syncs: the log in any mixture, or the file while the log is whole.

    A log that is written from its beginning has a new header first, synced before its frames (wal.c, walWriteFrames).
    """
    yield before
    before = before[0], after[1][:LOG_HEADER] + before[1][LOG_HEADER:]
    yield before
    for _ in range(IMAGES):
        if checkpointed:
            yield mixed(before[0], after[0], dice), before[1]
        else:
            yield before[0], mixed(before[1], after[1], dice)
            yield before[0], after[1][: dice.randint(len(before[1]), len(after[1]))]


def test_what_was_committed_is_there_whatever_the_power_took_of_the_next(state_folder: Path) -> None:
    path, dice = state_folder / "state.db", random.Random(0)
    database = opened(path)
    number, images = 0, 0
    for action in ("step", "step", "step", "checkpoint", "step", "step", "checkpoint", "step"):
        before, earlier = files(path), number
        if action == "step":
            number += 1
            step(database, number)
        else:  # the next step writes the log from its beginning
            database.connection.execute("PRAGMA wal_checkpoint(RESTART)")
        after = files(path)
        for image in crashes(before, after, checkpointed=action == "checkpoint", dice=dice):
            images += 1
            assert found(state_folder / f"image-{images}", image) in {earlier, number}
        assert found(state_folder / f"whole-{images}", after) == number
    database.close()
    assert images > 10 * IMAGES


@pytest.mark.parametrize("name", ["site", "aggregator"])
def test_both_daemons_sync_each_commit(state_folder: Path, name: str) -> None:
    database = (
        open_database(state_folder) if name == "site" else Store(state_folder / "aggregator.sqlite").database
    )
    asked = {
        pragma: database.connection.execute(f"PRAGMA {pragma}").fetchone()[0]
        for pragma in ("journal_mode", "synchronous", "foreign_keys")
    }
    database.close()
    assert asked == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
