# SPDX-License-Identifier: Apache-2.0
"""One SQLite database a daemon: WAL, synchronous=FULL, one writer.

Rule: what a step decides is one transaction, committed before any message about it is sent or acknowledged.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from fedagent.conditions.files import NO_SPACE
from fedagent.errors import NoSpaceError, StorageError
from fedagent.storage.failpoints import Failpoint, reach

_FULL: Final = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)
"""No space for the file or its log, and none for the log's index (sqlite.org/rescode.html)."""


class Database:
    """An open database of a known schema version."""

    def __init__(
        self, path: Path, schema: str, *, version: int, before_commit: Failpoint, after_commit: Failpoint
    ) -> None:
        """Opens the file, or makes it with this schema.

        Raises:
            StorageError: damaged, not writable, or of a newer version.
        """
        self._before, self._after, self._path = before_commit, after_commit, path
        try:
            self.connection = sqlite3.connect(path, isolation_level=None)
            try:
                self._prepare(path, schema, version)
            except BaseException:
                self.connection.close()
                raise
        except sqlite3.Error as error:
            if _is_full(error):
                raise NoSpaceError(NO_SPACE(path=path, reason=error)) from error
            raise StorageError(f"cannot open {path}: {error}; check the disk and the file's owner") from error
        path.chmod(0o600)

    def _prepare(self, path: Path, schema: str, version: int) -> None:
        connection = self.connection
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        (found,) = connection.execute("PRAGMA user_version").fetchone()
        if found > version:
            raise StorageError(
                f"{path} was written by a newer fedagent (state version {found}, this one knows {version}): upgrade again"
            )
        if found == 0:
            connection.executescript(f"BEGIN; {schema}; PRAGMA user_version={version}")
            reach(self._before)
            connection.execute("COMMIT")
            reach(self._after)

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
            raise StorageError(f"cannot commit: {error}; check that disk") from error

    def close(self) -> None:
        """Folds the log into the file and closes it."""
        self.connection.close()


def _is_full(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", None) in _FULL  # absent where the module itself objects
