# SPDX-License-Identifier: Apache-2.0
import logging

import pytest

from fedagent.conditions.condition import Said
from fedagent.core.facts import Instant
from fedagent.errors import NoSpaceError
from fedagent.storage.shortage import RETRY_S, Shortage
from tests.fakes.clock import ManualClock

FULL = NoSpaceError(Said("", "cannot write /x: no space"))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(monotonic_s=10.0, wall_s=1000.0)


@pytest.fixture
def shortage(clock: ManualClock) -> Shortage:
    return Shortage(lambda: Instant(monotonic=clock(), wall=clock.wall_s))


def test_it_is_said_once_when_it_begins_and_once_when_all_is_over(
    shortage: Shortage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for what in ("news", "update", "news"):
        shortage.met(what, FULL)
    shortage.over("news")
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("cannot write /x: no space; nothing is lost")
    shortage.over("update")
    shortage.over("update")
    assert caplog.messages[1:] == ["there is room on the disk again"]


def test_it_is_tried_again_later_and_later_up_to_a_bound(shortage: Shortage, clock: ManualClock) -> None:
    assert not shortage.waits("news")
    for delay_s in (1.0, 2.0, 4.0, 8.0, 16.0, 30.0, RETRY_S[1]):
        shortage.met("news", FULL)
        clock.advance(delay_s - 0.1)
        assert shortage.waits("news")
        assert not shortage.waits("update")
        clock.advance(0.1)
        assert not shortage.waits("news")


def test_the_status_has_the_reason_and_since_when(shortage: Shortage, clock: ManualClock) -> None:
    assert shortage.text == ""
    shortage.met("news", FULL)
    clock.advance(5.0)
    shortage.met("update", NoSpaceError(Said("", "another")))
    assert (shortage.text, shortage.since) == ("cannot write /x: no space", 1000.0)
    shortage.over("news")
    assert (shortage.text, shortage.since) == ("another", 1000.0)
