# SPDX-License-Identifier: Apache-2.0
"""What a site does when somebody sets its clock."""

import pytest

from fedagent.core import commands as do
from fedagent.core import events as on
from fedagent.core.agent import step
from fedagent.core.facts import Instant
from fedagent.core.governor import ManualPause
from fedagent.core.state import AgentState
from tests.fakes.scenes import at, play, sampled, site, told


@pytest.mark.parametrize("jump", [86_400.0, -86_400.0], ids=["a day ahead", "a day back"])
def test_a_pause_keeps_the_time_that_it_had_left_when_the_clock_is_set(jump: float) -> None:
    for_an_hour = ManualPause(by="root", until=at(3600).wall)
    state, _ = play(site(), [on.PauseAsked(pause=for_an_hour)])

    def look(state: AgentState, seconds: float) -> tuple[AgentState, list[do.Command]]:
        return step(state, sampled(seconds), Instant(at(seconds).monotonic, at(seconds).wall + jump))

    state, done = look(state, 10)
    assert f"set by {jump:+.0f} s" in told(done)[0]
    state, done = look(state, 3599)
    assert (str(state.standing.said), told(done)) == ("paused by root", [])
    state, _ = look(state, 3601)
    assert str(state.standing.said) != "paused by root"


def test_a_pause_without_an_end_has_none_when_the_clock_is_set() -> None:
    state, _ = play(site(), [on.PauseAsked(pause=ManualPause(by="root"))])
    state, _ = step(state, on.Woke(), Instant(at(1).monotonic, at(1).wall + 86_400))
    assert state.record.pause == ManualPause(by="root")
