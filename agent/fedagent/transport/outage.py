# SPDX-License-Identifier: Apache-2.0
"""Since when there is a connection or none, and why not.

Rule: a reason is news once per outage, so that a broker that is down for a day fills no journal.
"""

import time

import msgspec


class LinkStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The link to the broker, for people.

    Attributes:
        reason: why there is no connection; empty where there is one, or was no attempt yet.
        since: Unix seconds.
        retry_in_s: until the next attempt to connect; None while one is under way.
    """

    connected: bool
    reason: str
    since: float
    retry_in_s: float | None = None


class Outage:
    """What is known of the connection that is there, or of the outage."""

    def __init__(self) -> None:
        """Not connected yet."""
        self._told: set[str] = set()
        self._connected, self._reason, self._since = False, "", _wall()

    def status(self, retry_in_s: float | None) -> LinkStatus:
        """What people are shown."""
        return LinkStatus(
            connected=self._connected, reason=self._reason, since=self._since, retry_in_s=retry_in_s
        )

    def over(self) -> None:
        """There is a connection."""
        self._told.clear()
        self._connected, self._reason, self._since = True, "", _wall()

    def goes_on(self, reason: str) -> bool:
        """There is none, for this reason; whether that is news."""
        if self._connected:
            self._connected, self._since = False, _wall()
        self._reason = reason
        news = reason not in self._told
        self._told.add(reason)
        return news


def _wall() -> float:
    return time.time_ns() / 1e9
