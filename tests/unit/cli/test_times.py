# SPDX-License-Identifier: Apache-2.0
"""Times for people; clocks show UTC here."""

import pytest

from fedagent.cli.times import ago, clock, due, since, span

NOON = 1_750_075_200.0  # 2025-06-16 12:00:00


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3.0, "0 s"), (0.4, "0 s"), (99.4, "99 s"), (100.0, "1 min"), (3599.0, "59 min"), (3600.0, "1 h 0 min"),
        (86_399.0, "23 h 59 min"), (86_400.0, "1 d 0 h"), (10 * 86_400.0 + 7_200.0, "10 d 2 h"),
    ],
)  # fmt: skip
def test_a_span_has_at_most_two_units(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_another_day_is_named() -> None:
    assert clock(NOON - 60, NOON) == "11:59:00"
    assert clock(NOON - 86_400, NOON) == "2025-06-15 12:00:00"


def test_a_time_stands_there_as_span_and_as_clock() -> None:
    assert since(NOON - 720, NOON) == "for 12 min, since 11:48:00"
    assert ago(NOON - 720, NOON) == "12 min ago, at 11:48:00"
    assert due(NOON + 720, NOON) == "in 12 min, at 12:12:00"
    assert due(NOON - 720, NOON) == "12 min overdue, was due at 11:48:00"
