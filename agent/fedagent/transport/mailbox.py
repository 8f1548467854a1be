# SPDX-License-Identifier: Apache-2.0
"""Signed control messages: ours out with a rising sequence, the peers' in, each once.

Rule: a sequence number is never used twice, not even after a crash or with a lost database; a repeat is recognised
after a restart if ``remember`` was in the transaction that took its effects. A full disk silences nobody: numbers that could
not be reserved are above the clock's all the same, so that only a clock that goes back over a crash could repeat one.
"""

import time
from datetime import datetime
from sqlite3 import Connection
from typing import Final

from fedagent.errors import NoSpaceError
from fedagent.security.certificates import Signer, Trust
from fedagent.security.mail import Mail, open_mail, seal
from fedagent.storage.database import Database
from fedagent.wire.messages import Announcement, Message, Presence
from fedagent.wire.topics import Role, aggregator_topic, message_kind, round_topic, site_topic

SCHEMA: Final = """
CREATE TABLE sequence (only INTEGER PRIMARY KEY CHECK (only = 1), next INTEGER NOT NULL) STRICT;
CREATE TABLE seen (sender TEXT, topic TEXT, sequence INTEGER NOT NULL, PRIMARY KEY (sender, topic)) STRICT, WITHOUT ROWID;
"""

_BLOCK: Final = 1000
_WILL_AHEAD: Final = 1 << 20
"""A will is signed at CONNECT but sent last: its number is above all of its connection's."""


class Mailbox:
    """Seals what we say and opens what we hear."""

    def __init__(self, database: Database, signer: Signer, trust: Trust) -> None:
        """Reads how far the numbers went."""
        self._database, self._signer, self._trust = database, signer, trust
        row = database.connection.execute("SELECT next FROM sequence").fetchone()
        # Not only the stored number: a database that was lost or restored must not make us repeat ourselves.
        self._next = max(row[0] if row else 0, _clock())
        self._reserved = 0
        self._will = 0
        self._seen: dict[tuple[str, str], int] = {
            (sender, topic): sequence
            for sender, topic, sequence in database.connection.execute(
                "SELECT sender, topic, sequence FROM seen"
            )
        }

    def seal(self, message: Message, *, site: str | None = None) -> tuple[str, bytes]:
        """Topic and payload, with the next sequence.

        Args:
            site: to whom, where the aggregator speaks to one site.

        Raises:
            StorageError: the number cannot be reserved, and not for lack of space.
        """
        topic = self._topic(message, site)
        sequence = self._take(will=isinstance(message, Presence) and not message.online)
        return topic, seal(message, topic=topic, sequence=sequence, signer=self._signer)

    def open(self, topic: str, payload: bytes, now: datetime) -> Mail | None:
        """The message, or None for a repeat (acknowledge it and do nothing).

        Raises:
            WireError: not what a peer of ours may send on this topic.
        """
        mail = open_mail(payload, topic=topic, trust=self._trust, now=now)
        key = (mail.sender.name, topic)
        if mail.sequence <= self._seen.get(key, -1):
            return None
        self._seen[key] = mail.sequence
        return mail

    def remember(self, connection: Connection, mail: Mail) -> None:
        """Makes it durable, in the caller's transaction, that this message was taken."""
        topic = self._topic_of(mail)
        connection.execute(
            "INSERT INTO seen VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET sequence = max(sequence, excluded.sequence)",
            (mail.sender.name, topic, mail.sequence),
        )

    def forget(self, mail: Mail) -> None:
        """Its effects could not be stored: it is to be taken when it is opened again."""
        self._seen[mail.sender.name, self._topic_of(mail)] = mail.sequence - 1

    def _topic(self, message: Message, site: str | None) -> str:
        if isinstance(message, Announcement):
            return round_topic(message.study.name)
        study: str | None = getattr(message, "study", None)
        if self._signer.identity.role is Role.SITE:
            return site_topic(self._signer.identity.name, message_kind(message), study)
        if site is None:
            raise TypeError(f"a {message_kind(message)} goes to one site: say which")
        return aggregator_topic(site, message_kind(message), study)

    def _topic_of(self, mail: Mail) -> str:
        address = mail.address
        if address.kind == "round":
            return round_topic(address.study or "")
        if address.role is Role.SITE:
            return site_topic(address.sender, address.kind, address.study)
        return aggregator_topic(address.site or "", address.kind, address.study)

    def _take(self, *, will: bool) -> int:
        if not will:
            self._reserve(self._next)
            self._next += 1
            return self._next - 1
        # Past the will of the connection before, and past a clone of this machine that spoke meanwhile: a peer that heard
        # the clone would take all that we say for repeats.
        self._next = max(self._next, self._will + 1, _clock())
        self._will = self._next + _WILL_AHEAD
        self._reserve(self._will)
        return self._will

    def _reserve(self, sequence: int) -> None:
        """A later start begins above this number. Joins the caller's transaction where there is one."""
        if sequence < self._reserved:
            return
        limit = sequence + _BLOCK
        statement = (
            "INSERT INTO sequence VALUES (1, ?) ON CONFLICT DO UPDATE SET next = max(next, excluded.next)"
        )
        if self._database.connection.in_transaction:
            self._database.connection.execute(statement, (limit,))
        else:
            try:
                with self._database.transaction() as connection:
                    connection.execute(statement, (limit,))
            except NoSpaceError:
                return  # tried again with the next number
        self._reserved = limit


def _clock() -> int:
    """A number that no sender of messages reaches by counting: 65,536 a millisecond."""
    return time.time_ns() // 1_000_000 << 16
