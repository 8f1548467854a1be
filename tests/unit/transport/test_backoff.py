# SPDX-License-Identifier: Apache-2.0
"""Waits between attempts to connect."""

import asyncio

from fedagent.transport.backoff import LONGEST_S, SHORTEST_S, STABLE_S, Backoff
from tests.fakes.loop import in_loop


def longest_of(backoff: Backoff) -> float:
    return max(backoff.delay_s() for _ in range(500))


def test_waits_grow_from_attempt_to_attempt_and_stay_bounded() -> None:
    backoff = Backoff()
    longest = []
    for _ in range(20):
        backoff.ended(0.1)
        longest.append(longest_of(backoff))
        assert all(SHORTEST_S <= backoff.delay_s() <= LONGEST_S for _ in range(100))
    assert longest[0] <= 2 * SHORTEST_S < longest[3] < longest[-1]


def test_a_connection_that_lived_starts_afresh() -> None:
    backoff = Backoff()
    for _ in range(10):
        backoff.ended(0.1)
    backoff.ended(STABLE_S + 1)
    assert longest_of(backoff) <= 2 * SHORTEST_S


@in_loop
async def test_it_is_known_how_much_longer_a_wait_takes() -> None:
    backoff = Backoff()
    assert backoff.left_s is None
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(backoff.wait())
        done = asyncio.Event()
        asyncio.get_running_loop().call_soon(done.set)
        await done.wait()
        assert backoff.left_s is not None
        assert 0.0 < backoff.left_s <= 2 * SHORTEST_S
        waiting.cancel()
    assert backoff.left_s is None
