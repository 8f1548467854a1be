# SPDX-License-Identifier: Apache-2.0
"""How long to wait before the next attempt to connect.

Rule: always jittered, so that the sites of a study do not return to a restarted broker in one instant.
"""

import asyncio
import secrets
from typing import Final

SHORTEST_S: Final = 0.5
LONGEST_S: Final = 30.0

STABLE_S: Final = 30.0
"""A connection that lived that long starts afresh; one that the broker ends at once does not."""

CONTESTED_S: Final = (30.0, 60.0)
"""Two daemons with one identity throw each other out: slowly, and told to both."""

CUT_SHORT: Final = 3
"""So many accepted connections in a row that were soon closed look like that (mosquitto 2.0.11 does not say it)."""

RIVAL_S: Final = 90.0
"""A rival that waits as it must is back by then: the one of the two who is left in peace meanwhile is told as well."""

_random: Final = secrets.SystemRandom()


class Backoff:
    """Doubles from attempt to attempt."""

    def __init__(self) -> None:
        """Begins with the shortest wait."""
        self._attempt = 0
        self._cut_short = 0
        self._thrown_out = 0

    @property
    def rivalled(self) -> bool:
        """Somebody else may use our identity: a reason to say so, none to wait if we are left in peace for a while."""
        return max(self._cut_short, self._thrown_out) >= CUT_SHORT

    @property
    def contested(self) -> bool:
        """Somebody else seems to use our identity."""
        return self._cut_short >= CUT_SHORT

    def ended(self, lived_s: float, *, accepted: bool, taken_over: bool) -> None:
        """An attempt failed, or a connection ended.

        Args:
            lived_s: from the attempt to the end.
            accepted: it was a connection.
            taken_over: the broker said that another client took our session.
        """
        self._attempt = 1 if lived_s > STABLE_S else self._attempt + 1
        if accepted:
            self._cut_short = self._cut_short + 1 if lived_s < STABLE_S else 0
            self._thrown_out = self._thrown_out + 1 if lived_s < RIVAL_S else 0
        if taken_over:
            self._cut_short = max(self._cut_short, CUT_SHORT)

    def delay_s(self) -> float:
        """The wait before the next attempt."""
        if self.contested:
            return _random.uniform(*CONTESTED_S)
        return _random.uniform(SHORTEST_S, min(LONGEST_S, SHORTEST_S * 2 ** min(self._attempt, 10)))

    async def wait(self) -> None:
        """Returns when it is time for the next attempt."""
        due = asyncio.Event()
        timer = asyncio.get_running_loop().call_later(self.delay_s(), due.set)
        try:
            await due.wait()
        finally:
            timer.cancel()
