# SPDX-License-Identifier: Apache-2.0
"""A clock that a test turns by hand."""


class ManualClock:
    """Two clocks that only a test moves: calling it tells monotonic seconds, ``wall_s`` seconds since 1970.

    Attributes:
        monotonic_s: what ``time.monotonic`` would say; never goes back.
        wall_s: what ``time.time`` would say; an administrator, NTP or a battery may set it to anything.
    """

    def __init__(self, *, monotonic_s: float = 1000.0, wall_s: float = 1_750_000_000.0) -> None:
        self.monotonic_s = monotonic_s
        self.wall_s = wall_s

    def __call__(self) -> float:
        return self.monotonic_s

    def wall(self) -> float:
        """What ``time.time`` would say, as a function to pass on."""
        return self.wall_s

    def advance(self, seconds: float) -> float:
        """Let time pass on both clocks; returns the new monotonic time."""
        if seconds < 0:
            message = f"a monotonic clock cannot go back by {-seconds} s; set wall_s for a clock jump"
            raise ValueError(message)
        self.monotonic_s += seconds
        self.wall_s += seconds
        return self.monotonic_s
