# SPDX-License-Identifier: Apache-2.0
"""Waits between attempts to connect."""

from fedagent.transport.backoff import (
    CONTESTED_S,
    CUT_SHORT,
    LONGEST_S,
    RIVAL_S,
    SHORTEST_S,
    STABLE_S,
    Backoff,
)


def longest_of(backoff: Backoff) -> float:
    return max(backoff.delay_s() for _ in range(500))


def test_waits_grow_from_attempt_to_attempt_and_stay_bounded() -> None:
    backoff = Backoff()
    longest = []
    for _ in range(20):
        backoff.ended(0.1, accepted=False, taken_over=False)
        longest.append(longest_of(backoff))
        assert all(SHORTEST_S <= backoff.delay_s() <= LONGEST_S for _ in range(100))
    assert longest[0] <= 2 * SHORTEST_S < longest[3] < longest[-1]


def test_a_connection_that_lived_starts_afresh() -> None:
    backoff = Backoff()
    for _ in range(10):
        backoff.ended(0.1, accepted=False, taken_over=False)
    backoff.ended(STABLE_S + 1, accepted=True, taken_over=False)
    assert longest_of(backoff) <= 2 * SHORTEST_S


def test_a_session_that_was_taken_over_waits_long() -> None:
    backoff = Backoff()
    backoff.ended(STABLE_S + 1, accepted=True, taken_over=True)
    assert backoff.contested
    assert CONTESTED_S[0] <= backoff.delay_s() <= CONTESTED_S[1]


def test_connections_that_are_cut_short_again_and_again_count_as_contested() -> None:
    backoff = Backoff()
    for _ in range(CUT_SHORT):
        assert not backoff.contested
        backoff.ended(1.0, accepted=True, taken_over=False)
        backoff.ended(1.0, accepted=False, taken_over=False)
    assert backoff.contested
    backoff.ended(STABLE_S, accepted=True, taken_over=False)
    assert not backoff.contested


def test_who_is_thrown_out_by_a_rival_that_waits_is_told_but_need_not_wait() -> None:
    backoff = Backoff()
    for _ in range(CUT_SHORT):
        assert not backoff.rivalled
        backoff.ended(CONTESTED_S[1], accepted=True, taken_over=False)
    assert backoff.rivalled
    assert longest_of(backoff) <= 2 * SHORTEST_S
    backoff.ended(RIVAL_S, accepted=True, taken_over=False)
    assert not backoff.rivalled
