# SPDX-License-Identifier: Apache-2.0
"""Two daemons with one identity (a copied machine): how they are told from one that restarts, and which has to stop.

Rule: every start of a site's daemon has an instance of its own, and its word comes in the order of its signed sequence.
So an instance that is heard again after a later one has lived through it: there are two, and the one that was there
first stays. Neither a restart nor a line that is cut again and again can look like that.

Source: Consul keeps a node's name for the member that has it and refuses the newcomer (hashicorp/consul, agent/consul
"conflicting node ID"); nothing is banned, so that a person can decide otherwise by stopping the first.
"""

from collections.abc import Sequence
from sqlite3 import Connection
from typing import Final

KEPT: Final = 16
"""Instances remembered of each site; more than one person can start by hand before the first is heard again."""


def later(known: Sequence[bytes], heard: bytes) -> tuple[bytes, ...]:
    """The instances that came while this one lived.

    Args:
        known: in the order in which they were first heard.
        heard: the one that speaks now.
    """
    return tuple(known[known.index(heard) + 1 :]) if heard in known else ()


def hear(connection: Connection, site: str, instance: bytes) -> tuple[bytes, ...]:
    """Who must stop, now that this instance has spoken: itself, where an earlier one lived through its start."""
    rows = connection.execute(
        "SELECT instance, twin FROM instance WHERE site = ? ORDER BY number", (site,)
    ).fetchall()
    if (instance, 1) in rows:
        return (instance,)
    found = later([each for each, twin in rows if not twin], instance)
    connection.execute("INSERT OR IGNORE INTO instance (site, instance) VALUES (?, ?)", (site, instance))
    connection.executemany(
        "UPDATE instance SET twin = 1 WHERE site = ? AND instance = ?", [(site, each) for each in found]
    )
    connection.execute(
        "DELETE FROM instance WHERE site = ? AND instance <> ? AND number NOT IN"
        " (SELECT number FROM instance WHERE site = ? ORDER BY number DESC LIMIT ?)",
        (site, instance, site, KEPT),
    )
    return found
