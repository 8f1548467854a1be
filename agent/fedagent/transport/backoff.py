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

_random: Final = secrets.SystemRandom()


class Backoff:
    """Doubles from attempt to attempt."""

    def __init__(self) -> None:
        """Begins with the shortest wait."""
        self._attempt = 0
        self._due: asyncio.TimerHandle | None = None

    def ended(self, lived_s: float) -> None:
        """An attempt failed, or a connection ended, so many seconds after the attempt's begin."""
        self._attempt = 1 if lived_s > STABLE_S else self._attempt + 1

    def delay_s(self) -> float:
        """The wait before the next attempt."""
        return _random.uniform(SHORTEST_S, min(LONGEST_S, SHORTEST_S * 2 ** min(self._attempt, 10)))

    async def wait(self) -> None:
        """Returns when it is time for the next attempt."""
        due = asyncio.Event()
        self._due = timer = asyncio.get_running_loop().call_later(self.delay_s(), due.set)
        try:
            await due.wait()
        finally:
            timer.cancel()
            self._due = None

    @property
    def left_s(self) -> float | None:
        """How much longer ``wait`` takes; None where nobody waits."""
        return self._due.when() - asyncio.get_running_loop().time() if self._due else None
