# SPDX-License-Identifier: Apache-2.0
"""A trainer whose disk is really full: it refuses with the reason, uses up no attempt, and does the job when there is room."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fedagent.launch import child
from fedagent.wire import frames
from fedagent.wire.messages import Reason
from tests.fakes.clinic import IDENTITY, TABULAR, Clinic, Order
from tests.fakes.connection import Connection, program
from tests.fakes.small_disk import SmallDisk, small_disk

Start = Callable[[str], Connection]


@pytest.fixture
def clinic(tmp_path: Path) -> Clinic:
    clinic = Clinic(tmp_path)
    clinic.approve(IDENTITY)
    return clinic


@pytest.fixture
def disk(clinic: Clinic) -> Iterator[SmallDisk]:
    with small_disk(clinic.state, mib=1) as made:
        yield made


@pytest.fixture
def start(clinic: Clinic, disk: SmallDisk, monkeypatch: pytest.MonkeyPatch) -> Start:
    """A trainer on that disk, whose worker behaves like that."""

    def started(behaviour: str) -> Connection:
        monkeypatch.setattr(child, "PROGRAM", program(behaviour))
        return Connection(clinic)

    return started


def order(clinic: Clinic, number: int = 1) -> Order:
    return clinic.order(IDENTITY, round=number)


def test_a_round_that_cannot_be_recorded_is_not_trained(
    clinic: Clinic, start: Start, disk: SmallDisk
) -> None:
    with start("obey") as connection:
        disk.fill()
        for _ in range(3):
            connection.give(order(clinic))
            refused = connection.expect(frames.JobRefused)
            assert (refused.reason, refused.round) == (Reason.NO_SPACE, 1)
            assert "free space" in refused.text
        disk.empty()
        connection.give(order(clinic))
        connection.expect(frames.JobSealed)
    assert len(clinic.jobs) == 1


def test_a_result_whose_leaving_cannot_be_recorded_stays_here(
    clinic: Clinic, start: Start, disk: SmallDisk
) -> None:
    with start("patient-once") as connection:
        connection.give(order(clinic))
        connection.expect(frames.JobProgress)
        disk.fill()
        connection.channel.send(frames.CheckpointNow())  # what it waits for
        assert connection.expect(frames.JobFailed).reason is Reason.NO_SPACE
        connection.expect(frames.CheckpointDone)
        disk.empty()
        connection.give(order(clinic))
        connection.expect(frames.JobSealed)


def test_a_worker_without_room_uses_up_no_attempt(clinic: Clinic, start: Start) -> None:
    with start("full") as connection:
        for _ in range(4):
            connection.give(order(clinic))
            assert connection.expect(frames.JobFailed).reason is Reason.NO_SPACE


def test_other_studies_checkpoints_go_oldest_first_above_the_budget(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "PROGRAM", program("patient"))
    clinic.approve(TABULAR)
    clinic.configure_trainer(checkpoint_budget_mib=3)
    others = clinic.state / "checkpoints" / TABULAR.name
    others.mkdir(parents=True)
    for number in range(3):
        (others / str(number)).write_bytes(bytes(1_048_576))
        os.utime(others / str(number), (number, number))
    with Connection(clinic) as connection:
        connection.give(order(clinic))
        connection.expect(frames.JobProgress)
        assert sorted(path.name for path in others.iterdir()) == ["0", "1", "2"], "all fit"
        (others / "3").write_bytes(bytes(1_048_577))
        connection.give(order(clinic))
        connection.expect(frames.JobProgress)
        assert sorted(path.name for path in others.iterdir()) == ["2", "3"]
