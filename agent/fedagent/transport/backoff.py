# SPDX-License-Identifier: Apache-2.0
"""How long to wait before the next attempt to connect.

Rule: always jittered, so that the sites of a study do not return to a restarted broker in one instant.
"""

import secrets
from typing import Final

SHORTEST_S: Final = 0.5
LONGEST_S: Final = 30.0

STABLE_S: Final = 30.0
"""A connection that lived that long starts afresh; one that the broker ends at once does not."""

TAKEN_OVER_S: Final = (30.0, 60.0)
"""Two daemons with one identity throw each other out: slowly, and told to both."""

_random: Final = secrets.SystemRandom()


class Backoff:
    """Doubles from attempt to attempt."""

    def __init__(self) -> None:
        """Begins with the shortest wait."""
        self._attempt = 0

    def delay_s(self, lived_s: float) -> float:
        """The wait after an attempt, or a connection that lived this long."""
        self._attempt = 1 if lived_s > STABLE_S else self._attempt + 1
        return _random.uniform(SHORTEST_S, min(LONGEST_S, SHORTEST_S * 2 ** min(self._attempt, 10)))

    def taken_over_s(self) -> float:
        """The wait after somebody else took our session."""
        return _random.uniform(*TAKEN_OVER_S)
