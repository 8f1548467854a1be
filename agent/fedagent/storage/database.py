# SPDX-License-Identifier: Apache-2.0
"""One SQLite database a daemon: WAL, synchronous=FULL, one writer.

Rule: what a step decides is one transaction, committed before any message about it is sent or acknowledged. State of an
earlier version is brought up to date at the start, in one transaction; that of a newer one is not touched.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import msgspec

from fedagent.conditions.files import CANNOT_OPEN, CANNOT_WRITE, NEWER_STATE, NO_SPACE
from fedagent.errors import NoSpaceError, StorageError
from fedagent.storage.failpoints import Failpoint, reach

_FULL: Final = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)
"""No space for the file or its log, and none for the log's index (sqlite.org/rescode.html)."""


class Database:
    """An open database of a known schema version."""

    def __init__(
        self,
        path: Path,
        schema: str,
        *,
        steps: Sequence[str] = (),
        before_commit: Failpoint,
        after_commit: Failpoint,
    ) -> None:
        """Opens the file, or makes it with this schema.

        Args:
            steps: the SQL (with ``without_field(data, name)``) that brings version 1 to 2, 2 to 3, and so on to the schema's, whose version follows from them.

        Raises:
            StorageError: damaged, not writable, or of a newer version.
        """
        self._before, self._after, self._path = before_commit, after_commit, path
        version = version_after(steps)
        found = state_version(path)
        if found > version:
            raise StorageError(NEWER_STATE(path=path, found=found, known=version))
        try:
            self.connection = sqlite3.connect(path, isolation_level=None)
            try:
                self._prepare(schema if found == 0 else "; ".join(steps[found - 1 :]), version)
            except BaseException:
                self.connection.close()
                raise
        except sqlite3.Error as error:
            raise _unopened(path, error) from error
        path.chmod(0o600)

    def _prepare(self, script: str, version: int) -> None:
        connection = self.connection
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        if script:
            connection.create_function("without_field", 2, _without_field, deterministic=True)
            connection.executescript("; ".join(("BEGIN", script, f"PRAGMA user_version={version}")))
            reach(self._before)
            connection.execute("COMMIT")
            reach(self._after)
        # Only now: a step may put a table in another's place (sqlite.org/lang_altertable.html, section 7).
        connection.execute("PRAGMA foreign_keys=ON")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of the block is durable, or none of it.

        Raises:
            NoSpaceError: the disk is full; nothing was changed.
            StorageError: it is broken.
        """
        connection = self.connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                if (
                    connection.in_transaction
                ):  # a full disk ends it by itself (sqlite.org/lang_transaction.html)
                    connection.execute("ROLLBACK")
                raise
            reach(self._before)
            connection.execute("COMMIT")
            reach(self._after)
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if _is_full(error):
                raise NoSpaceError(NO_SPACE(path=self._path, reason=error)) from error
            raise StorageError(CANNOT_WRITE(path=self._path, reason=error)) from error

    def close(self) -> None:
        """Folds the log into the file and closes it."""
        self.connection.close()


def _is_full(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", None) in _FULL  # absent where the module itself objects


def _without_field(data: bytes, name: str) -> bytes:
    """For the steps' SQL: a Struct's MessagePack form without this field, in whose place its default stands."""
    fields = msgspec.msgpack.decode(data, type=dict[str, msgspec.Raw])
    return msgspec.msgpack.encode({key: value for key, value in fields.items() if key != name})


def version_after(steps: Sequence[str]) -> int:
    """The version of the state that these steps lead to."""
    return 1 + len(steps)


def state_version(path: Path) -> int:
    """Of a database's tables; 0 where there are none. Neither the file nor its log is changed, as opening it would.

    Raises:
        StorageError: the file cannot be read, or is none.
    """
    if not path.exists():
        return 0
    log = path.with_name(f"{path.name}-wal")
    is_left = log.exists() and log.stat().st_size > 0  # by a process that was killed
    how = "mode=ro" if is_left else "immutable=1"
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True)) as connection:
            return int(connection.execute("PRAGMA user_version").fetchone()[0])
    except sqlite3.Error as error:
        raise _unopened(path, error) from error


def _unopened(path: Path, error: sqlite3.Error) -> StorageError:
    if _is_full(error):
        return NoSpaceError(NO_SPACE(path=path, reason=error))
    return StorageError(CANNOT_OPEN(path=path, reason=error))
