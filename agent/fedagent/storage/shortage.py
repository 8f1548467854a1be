# SPDX-License-Identifier: Apache-2.0
"""What waits for room on the disk: said once, tried again by itself, and once more said when it is over.

Rule: nothing is lost by waiting, so whoever meets a full disk keeps what it has, says it here, and asks here when to try again.
"""

import logging
from collections.abc import Callable
from typing import Final

import msgspec

from fedagent.conditions.files import ROOM_AGAIN, WAITS_FOR_ROOM
from fedagent.core.facts import Instant
from fedagent.errors import NoSpaceError
from fedagent.journal import tell

RETRY_S: Final = (1.0, 30.0)
"""After that long it is tried again; doubling, to the second."""

log = logging.getLogger(__name__)


class _Wait(msgspec.Struct, frozen=True):
    text: str
    until: float
    delay_s: float


class Shortage:
    """All that waits for room, by what it is.

    Attributes:
        clock: tells both clocks.
        since: wall-clock time since when something waits.
    """

    def __init__(self, clock: Callable[[], Instant]) -> None:
        """Nothing waits."""
        self.clock = clock
        self._waits: dict[str, _Wait] = {}
        self.since = 0.0

    @property
    def text(self) -> str:
        """Why something waits, empty where nothing does."""
        return next((each.text for each in self._waits.values()), "")

    def met(self, what: str, error: NoSpaceError) -> None:
        """There is no room for this; to be tried again later, and later each time."""
        now, known = self.clock(), self._waits.get(what)
        if not self._waits:
            self.since = now.wall
            tell(log, WAITS_FOR_ROOM(reason=error))
        delay_s = min(2 * known.delay_s, RETRY_S[1]) if known else RETRY_S[0]
        self._waits[what] = _Wait(str(error), now.monotonic + delay_s, delay_s)

    def waits(self, what: str) -> bool:
        """Whether it is too early to try this again."""
        known = self._waits.get(what)
        return known is not None and self.clock().monotonic < known.until

    def over(self, what: str) -> None:
        """It found room, or is no longer wanted."""
        if self._waits.pop(what, None) is not None and not self._waits:
            tell(log, ROOM_AGAIN())
