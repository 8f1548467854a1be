# SPDX-License-Identifier: Apache-2.0
import pytest

from fedagent.conditions.condition import Said
from fedagent.core.facts import Instant
from fedagent.errors import NoSpaceError
from fedagent.storage.backlog import Backlog
from fedagent.storage.shortage import Shortage


class Disk:
    """Does items while there is room; 0 ends the daemon."""

    def __init__(self) -> None:
        self.room, self.now = True, 0.0
        self.done: list[int | str] = []
        self.shortage = Shortage(lambda: Instant(monotonic=self.now, wall=self.now))
        self.backlog: Backlog[int | str] = Backlog(self.shortage, self.do)

    def do(self, item: int | str) -> bool:
        if not self.room:
            raise NoSpaceError(Said("", "full"))
        self.done.append(item)
        return item == 0


@pytest.fixture
def disk() -> Disk:
    return Disk()


def test_an_item_is_done_at_once_while_there_is_room(disk: Disk) -> None:
    assert not disk.backlog.take(1)
    assert disk.backlog.take(0)
    assert disk.done == [1, 0]


def test_what_came_after_an_item_that_waits_is_done_after_it(disk: Disk) -> None:
    disk.room = False
    disk.backlog.take(1)
    disk.room = True
    disk.backlog.take(2)
    assert disk.done == []
    disk.now = 1.0
    assert not disk.backlog.catch_up()
    assert disk.done == [1, 2]
    assert disk.shortage.text == ""


def test_it_is_not_tried_before_its_time_and_stays_where_there_is_still_no_room(disk: Disk) -> None:
    disk.room = False
    disk.backlog.take(1)
    disk.now = 1.0
    assert not disk.backlog.catch_up()
    disk.room, disk.now = True, 2.5
    assert not disk.backlog.catch_up()
    assert disk.done == []
    disk.now = 3.0
    assert not disk.backlog.catch_up()
    assert disk.done == [1]


def test_an_item_that_ends_the_daemon_ends_it_when_its_turn_comes(disk: Disk) -> None:
    disk.room = False
    for item in (0, 1):
        disk.backlog.take(item)
    disk.room, disk.now = True, 1.0
    assert disk.backlog.catch_up()
    assert disk.done == [0]


def test_what_comes_again_by_itself_is_forgotten(disk: Disk) -> None:
    disk.room = False
    for item in (1, "a", 2, "b"):
        disk.backlog.take(item)
    assert disk.backlog.drop(str) == 2
    disk.room, disk.now = True, 1.0
    disk.backlog.catch_up()
    assert disk.done == [1, 2]
