# SPDX-License-Identifier: Apache-2.0
"""What people are shown of an agent that nobody answers, and of messages that it refused."""

from fedagent.conditions.condition import Said
from fedagent.core import commands as do
from fedagent.core import events as on
from fedagent.core.agent import NOTE_EVERY_S, hello
from fedagent.core.state import LastError
from fedagent.wire import messages as m
from tests.fakes.scenes import OFFLINE, Step, at, heard, joined, play, sampled, site


def test_an_aggregator_owes_an_answer_since_it_was_first_asked() -> None:
    state, _ = play(joined(), [(1, on.Connected()), (3, sampled(3)), (7, sampled(7))])
    assert state.silent_since == at(1).monotonic
    state, _ = play(state, [(8, heard(m.AggregatorHello(version="0.1.0", protocol=1)))])
    assert state.silent_since is None
    state, done = play(state, [(15, sampled(15))])
    assert do.Send(message=hello(state)) in done
    assert state.silent_since == at(15).monotonic


def test_nobody_owes_an_answer_where_there_is_no_broker() -> None:
    state, _ = play(joined(), [on.Connected(), OFFLINE])
    assert state.silent_since is None


def refused_at(seconds: float, text: str) -> Step:
    return seconds, on.MessageRefused(said=Said("FA3001", text))


def test_a_message_that_was_refused_is_remembered_and_a_flood_of_them_does_not_wear_out_the_disk() -> None:
    state, _ = play(site(), [refused_at(1, "first"), refused_at(2, "second")], expect=[])
    assert state.record.error == LastError(code="FA3001", text="first", at=at(1).wall)
    state, _ = play(state, [refused_at(1 + NOTE_EVERY_S, "third")])
    assert state.record.error == LastError(code="FA3001", text="third", at=at(1 + NOTE_EVERY_S).wall)


# --- leaving ------------------------------------------------------------------------------------------------------------


def test_a_site_that_leaves_in_order_says_so() -> None:
    online, _ = play(site(), [on.Connected()])
    _, done = play(online, [on.StopAsked()], expect=["send presence", "exit"])
    (gone,) = [each.message for each in done if isinstance(each, do.Send)]
    assert isinstance(gone, m.Presence)
    assert not gone.online


def test_a_copy_does_not_say_that_the_site_is_gone() -> None:
    online, _ = play(site(), [on.Connected()])
    play(online, [heard(m.Twin(instance=online.instance))], expect=["exit"])
