# SPDX-License-Identifier: Apache-2.0
"""What we owe a peer: messages that are sent again until its answer removes them.

Rule: a message is put, or removed, in the transaction that decides it; sending changes nothing here.
"""

from sqlite3 import Connection
from typing import Final, get_args

from fedagent.conditions.files import NEWER_OUTBOX
from fedagent.errors import StorageError
from fedagent.storage.database import Database
from fedagent.wire.codec import decode, encode
from fedagent.wire.messages import AggregatorMessage, Message, SiteMessage
from fedagent.wire.topics import OFFER_BYTES

SCHEMA: Final = """
CREATE TABLE outbox (
    number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, message BLOB NOT NULL, site TEXT
) STRICT;
"""

_KINDS: Final[dict[str, type[Message]]] = {
    kind.__name__: kind for kind in get_args(SiteMessage | AggregatorMessage)
}
"""By class name: the tags of the two sides' messages are not distinct."""


class Outbox:
    """The messages that we owe, oldest first."""

    def __init__(self, database: Database) -> None:
        """Reads nothing yet."""
        self._database = database

    def put(self, connection: Connection, key: str, message: Message, site: str | None = None) -> None:
        """Owes this message; it takes the place of an older one with the same key."""
        connection.execute(
            "INSERT OR REPLACE INTO outbox (key, kind, message, site) VALUES (?, ?, ?, ?)",
            (key, type(message).__name__, encode(message), site),
        )

    def remove(self, connection: Connection, key: str) -> None:
        """The peer answered, or it no longer matters."""
        connection.execute("DELETE FROM outbox WHERE key = ?", (key,))

    def messages(self) -> list[tuple[str, Message, str | None]]:
        """Key, message and addressed site of each.

        Raises:
            StorageError: a row is of a version that this program does not know.
        """
        rows = self._database.connection.execute(
            "SELECT key, kind, message, site FROM outbox ORDER BY number"
        )
        return [(key, _message(kind, data), site) for key, kind, data, site in rows.fetchall()]


def _message(kind: str, data: bytes) -> Message:
    if kind not in _KINDS:
        raise StorageError(NEWER_OUTBOX(kind=kind))
    return decode(data, _KINDS[kind], limit_bytes=OFFER_BYTES)
