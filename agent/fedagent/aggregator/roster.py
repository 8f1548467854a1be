# SPDX-License-Identifier: Apache-2.0
"""Which sites ever spoke to us: who is there and since when, who was heard when, and what went wrong with whom last.

Rule: as ``store``: what writes takes the connection of the caller's transaction, so that it is durable with what the
message led to.
"""

from sqlite3 import Connection
from typing import Final

import msgspec

from fedagent.conditions.condition import Said
from fedagent.wire.messages import Presence


class SiteRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a site last said of itself; times in Unix seconds.

    Attributes:
        since: when it came (or, where it is not online, when we heard that it had gone).
        heard_at: its last message of any kind but a chunk.
        error_at: when a message of this site was last refused; ``error_code`` and ``error_text`` say why.
    """

    name: str
    online: bool
    since: float
    version: str
    verdict: str
    reason: str
    heard_at: float
    training_expected_at: float | None = None
    error_code: str = ""
    error_text: str = ""
    error_at: float | None = None


NOTE_EVERY_S: Final = 10.0
"""Whoever sends nonsense decides about no more than this many of our writes to the disk."""

_UPSERT: Final = (
    "INSERT INTO site (name, online, since, version, heard_at) VALUES (:site, :online, :now, :version, :now)"
    " ON CONFLICT DO UPDATE SET since = iif(online = excluded.online, since, excluded.since), online = excluded.online,"
    " version = excluded.version, heard_at = excluded.heard_at"
)


def greeted(connection: Connection, site: str, version: str, now: float) -> None:
    """The site said hello."""
    connection.execute(_UPSERT, {"site": site, "online": 1, "now": now, "version": version})


def heard(connection: Connection, site: str, now: float) -> None:
    """The site said something else."""
    connection.execute("UPDATE site SET heard_at = ? WHERE name = ?", (now, site))


def note_presence(connection: Connection, site: str, presence: Presence, now: float) -> None:
    """What the site says of itself, or the broker of a site that vanished."""
    online = int(presence.online)
    connection.execute(_UPSERT, {"site": site, "online": online, "now": now, "version": presence.version})
    connection.execute(
        "UPDATE site SET verdict = ?, reason = ?, training_expected_at = ? WHERE name = ?",
        (presence.verdict, presence.reason, presence.training_expected_at, site),
    )


def note_refused(connection: Connection, site: str, said: Said, now: float) -> None:
    """A message in this site's name was refused: for people, who see the last. One of a flood is enough."""
    connection.execute(
        "UPDATE site SET error_code = ?, error_text = ?, error_at = ?"
        " WHERE name = ? AND (error_at IS NULL OR abs(? - error_at) >= ?)",
        (said.code, said.text, now, site, now, NOTE_EVERY_S),
    )


def records(connection: Connection) -> tuple[SiteRecord, ...]:
    """All of them, in the order of their names."""
    rows = connection.execute(
        "SELECT name, online, since, version, verdict, reason, heard_at, training_expected_at,"
        " error_code, error_text, error_at FROM site ORDER BY name"
    ).fetchall()
    return tuple(
        SiteRecord(
            name=name,
            online=bool(online),
            since=since,
            version=version,
            verdict=verdict,
            reason=reason,
            heard_at=heard_at,
            training_expected_at=expected,
            error_code=code,
            error_text=text,
            error_at=error_at,
        )
        for name, online, since, version, verdict, reason, heard_at, expected, code, text, error_at in rows
    )
