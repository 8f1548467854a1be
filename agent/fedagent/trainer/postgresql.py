# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: S608 (the query is root's own; every name that is put into it is quoted)
"""Rows of one SELECT, read from PostgreSQL over its unix socket.

Rule: one transaction, read only and repeatable read, so that a snapshot is of one instant; a cursor, so that memory does
not grow with the table. The server's error texts may quote values: they are told in our own words, ``from None``.
Source: PostgreSQL manual, SET TRANSACTION, DECLARE, and appendix A (SQLSTATE codes).
"""

import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pg8000.native
from pg8000.exceptions import DatabaseError, InterfaceError

from fedagent.conditions import data
from fedagent.conditions.condition import Condition
from fedagent.errors import DataError, UnavailableError
from fedagent.trainer.datasets import PostgresqlSource
from fedagent.trainer.engine import quoted_name

BATCH_ROWS: Final = 10_000
CONNECT_S: Final = 30

_FAULTS: Final = (DatabaseError, InterfaceError, OSError)

_REASONS: Final[Mapping[str, Condition]] = {
    "42501": data.MAY_NOT_SELECT,
    "42P01": data.NO_SUCH_TABLE,
    "42703": data.NO_SUCH_COLUMN,
    "42702": data.COLUMN_NAMES_CLASH,
    "42601": data.NOT_ONE_SELECT,
    "25006": data.QUERY_CHANGES,
    "28000": data.ROLE_NOT_LET_IN,
    "28P01": data.ROLE_NOT_LET_IN,
    "3D000": data.NO_SUCH_DATABASE,
    "57014": data.QUERY_CANCELLED,
}


class PostgresqlTable:
    """The query's result, as of the instant at which this was opened.

    Attributes:
        columns: the names of the query's columns.
    """

    def __init__(self, source: PostgresqlSource) -> None:
        """Connects and begins the transaction.

        Raises:
            UnavailableError: no server answers.
            DataError: no permission, or not a SELECT.
        """
        self._source = source
        self._query = source.query.strip().rstrip(";")
        self._connection = self._connect()
        try:
            self._run("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            self._run("SET LOCAL datestyle TO 'ISO'")
            described = self._run(f"SELECT * FROM ({self._query}\n) AS rows LIMIT 0")
        except DataError:
            self.close()
            raise
        self.columns: tuple[str, ...] = tuple(column["name"] for column in described.columns or ())

    def batches(self, columns: Sequence[str]) -> Iterator[list[list[str | None]]]:
        """The rows, at most ``BATCH_ROWS`` at once, each column as the server's text.

        Raises:
            DataError: the query failed on the way.
        """
        texts = ", ".join(f"CAST({quoted_name(column)} AS text)" for column in columns) or "NULL"
        self._run(f"DECLARE rows NO SCROLL CURSOR FOR SELECT {texts} FROM ({self._query}\n) AS rows")
        while rows := self._run(f"FETCH FORWARD {BATCH_ROWS} FROM rows").rows:
            yield rows

    def close(self) -> None:
        """Ends the transaction and the connection."""
        try:
            self._connection.close()
        except _FAULTS:
            return  # The server has gone: there is nothing left to close.

    def _connect(self) -> pg8000.native.Connection:
        path = Path(self._source.socket) / f".s.PGSQL.{self._source.port}"
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            link.settimeout(CONNECT_S)
            link.connect(str(path))
            link.settimeout(None)  # A query may take its time.
        except OSError as error:
            link.close()
            raise UnavailableError(data.NO_DATABASE_SERVER(source=self._source.title, path=path)) from error
        try:
            return pg8000.native.Connection(
                self._source.user,
                database=self._source.database,
                sock=link,
                ssl_context=False,
                application_name="fedagent-snapshot",
            )
        except _FAULTS as error:
            link.close()
            raise self._explained(error) from None

    def _run(self, statement: str) -> Any:  # noqa: ANN401  # pg8000 has no types
        """One statement, by the extended protocol: the server refuses a second one behind a semicolon."""
        try:
            return self._connection.execute_unnamed(statement)
        except _FAULTS as error:
            raise self._explained(error) from None

    def _explained(self, error: BaseException) -> DataError:
        code = _sqlstate(error)
        user, database = self._source.user, self._source.database
        said = _REASONS.get(code, data.SERVER_REFUSED)
        return DataError(
            said(source=self._source.title, user=user, database=database, code=code or "unknown")
        )


def _sqlstate(error: BaseException | None) -> str:
    """The server's own code; where pg8000 failed to say goodbye, it is in the error before that one."""
    while error is not None:
        if error.args and isinstance(error.args[0], dict):
            return str(error.args[0].get("C", ""))
        error = error.__context__
    return ""
