# SPDX-License-Identifier: Apache-2.0
"""Counts as people may see them.

Rule: whatever the snapshot program prints about patients goes through here: a small count could point at one of them.
"""

from typing import Final

SMALL: Final = 10


def few(count: int) -> int | str:
    """The count, or words where it is small; none at all is no patient, and is told."""
    return f"fewer than {SMALL}" if 0 < count < SMALL else count
