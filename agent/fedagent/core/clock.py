# SPDX-License-Identifier: Apache-2.0
"""A wall clock that somebody sets: how far it jumped, told by the monotonic clock beside it.

Rule: what lasts is measured by the monotonic clock. A moment that must survive a restart is kept in wall time, and moves
along when that is set, so that its distance stays.
"""

from typing import Final

from fedagent.core.facts import Instant

JUMP_S: Final = 5.0
"""Less is a clock that is being corrected: ntpd and chrony slew what is smaller than a second."""


def offset_s(now: Instant) -> float:
    """What the wall clock is ahead of the monotonic one."""
    return now.wall - now.monotonic


def jump_s(before: float | None, now: Instant) -> float:
    """By how much the wall clock was set since its offset was ``before``; 0.0 where it was not, or nobody knows."""
    by_s = 0.0 if before is None else offset_s(now) - before
    return by_s if abs(by_s) >= JUMP_S else 0.0
