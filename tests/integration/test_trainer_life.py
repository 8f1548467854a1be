# SPDX-License-Identifier: Apache-2.0
"""Who ends whom, what counts as a crash, and what is left: real processes, killed and stopped."""

import os
import select
import signal
from collections.abc import Callable
from pathlib import Path

import msgspec
import psutil
import pytest

from fedagent.conditions.trainer import STEP_TOO_LONG, WORKER_FAILED
from fedagent.launch import child
from fedagent.storage.failpoints import ENVIRONMENT, Failpoint
from fedagent.wire import frames
from fedagent.wire.messages import Reason
from tests.fakes.clinic import IDENTITY, Clinic, Order, model_bytes
from tests.fakes.connection import Connection, gone, program, read_all
from tests.fakes.odd_worker import BURN_STEP

Start = Callable[[str], Connection]


@pytest.fixture
def clinic(tmp_path: Path) -> Clinic:
    """Its worker may take three seconds before the first step, and one for each."""
    clinic = Clinic(tmp_path)
    clinic.configure_trainer(step_limit_s=1.0, load_limit_s=3.0)
    clinic.approve(IDENTITY)
    return clinic


@pytest.fixture
def start(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> Start:
    """A trainer whose worker behaves like that."""

    def started(behaviour: str) -> Connection:
        monkeypatch.setattr(child, "PROGRAM", program(behaviour))
        return Connection(clinic)

    return started


def order(clinic: Clinic, number: int = 1) -> Order:
    return clinic.order(IDENTITY, round=number)


# --- crash, poison, kill ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("crash", Reason.CRASHED),
        ("segfault", Reason.CRASHED),
        ("garbage", Reason.CRASHED),
        ("silent", Reason.CRASHED),
        ("nan", Reason.NOT_FINITE),
        ("starved", Reason.OUT_OF_MEMORY),
        ("asleep", Reason.STUCK),
        ("hang", Reason.STUCK),
        ("repeat", Reason.STUCK),
    ],
)
def test_a_job_that_goes_wrong_twice_fails_once(
    clinic: Clinic, start: Start, behaviour: str, reason: Reason
) -> None:
    with start(behaviour) as connection:
        connection.give(order(clinic))
        failed = connection.expect(frames.JobFailed)
        assert (failed.reason, failed.round) == (reason, 1), failed.text
        connection.channel.send(frames.CheckpointNow())
        connection.expect(frames.CheckpointDone)  # nothing more came before this answer
    assert len(clinic.jobs) == 2
    assert len(set(clinic.jobs)) == 1, "the second time goes on from the first one's checkpoint"


@pytest.mark.parametrize(
    "behaviour",
    ["crash-once", "segfault-once", "garbage-once", "silent-once", "nan-once", "starved-once", "hang-once"],
)
def test_a_job_that_goes_wrong_once_is_done(clinic: Clinic, start: Start, behaviour: str) -> None:
    with start(behaviour) as connection:
        first = connection.ready.worker_pid
        connection.give(order(clinic))
        _, descriptors = connection.expect_with(frames.JobSealed)
        assert read_all(descriptors)
        assert connection.ready.worker_pid != first, "the daemon was given the new worker's brake"
    assert len(clinic.jobs) == 2


@pytest.mark.parametrize(
    ("behaviour", "reason"), [("unfit", Reason.DATA_DOES_NOT_FIT), ("mapped", Reason.GATE)]
)
def test_what_is_no_chance_is_not_tried_again(
    clinic: Clinic, start: Start, behaviour: str, reason: Reason
) -> None:
    with start(behaviour) as connection:
        connection.give(order(clinic))
        assert connection.expect(frames.JobFailed).reason is reason
    assert len(clinic.jobs) == 1


def test_a_condition_that_the_table_lacks_is_told_as_a_workers_words(clinic: Clinic, start: Start) -> None:
    with start("unfit") as connection:
        connection.give(order(clinic))
        failed, said = connection.expect(frames.JobFailed), WORKER_FAILED(reason="no row has the class 'yes'")
        assert (failed.code, failed.text) == (said.code, said.text)


def test_a_paused_worker_is_not_stuck_however_long_the_pause(clinic: Clinic, start: Start) -> None:
    with start("hang") as connection:
        connection.give(order(clinic))
        connection.expect(frames.JobProgress)
        connection.stop_worker()
        with pytest.raises(AssertionError, match="the supervisor says nothing"):
            connection.next(timeout_s=4.0)
        os.killpg(connection.ready.worker_pid, signal.SIGCONT)
        failed = connection.expect(frames.JobFailed)
        assert "tried 2 times: step 2 did not end in 1 s" in failed.text
        assert failed.code == STEP_TOO_LONG.code


def test_a_worker_that_was_killed_is_no_crash_and_ends_the_supervisor(clinic: Clinic, start: Start) -> None:
    with start("burn") as connection:
        connection.give(order(clinic))
        connection.expect(frames.JobProgress)
        connection.kill_worker()
        connection.expect_end()
        assert connection.wait_ended() == "exit status 0"


def test_a_death_after_the_checkpoint_is_no_crash(clinic: Clinic, start: Start) -> None:
    with start("burn") as connection:
        connection.give(order(clinic))
        connection.channel.send(frames.CheckpointNow())
        assert connection.expect(frames.CheckpointDone).step == BURN_STEP
        os.kill(connection.ready.worker_pid, signal.SIGTERM)
        connection.expect_end()


def test_a_checkpoint_without_a_job_is_done_at_once(clinic: Clinic, start: Start) -> None:
    with start("obey") as connection:
        connection.channel.send(frames.CheckpointNow())
        assert connection.expect(frames.CheckpointDone).step == 0


def test_a_worker_that_never_starts_is_told_not_looped(
    start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    with start("stillborn") as connection:
        connection.expect_end()
        assert connection.wait_ended() == "exit status 1"
    assert "the worker crashed (exit status 3) before it had a job, 2 times" in capfd.readouterr().err


# --- who ends whom ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("behaviour", ["burn", "deaf"])
@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
def test_the_end_of_the_connection_ends_supervisor_and_worker(
    clinic: Clinic, start: Start, behaviour: str, stopped: bool
) -> None:
    with start(behaviour) as connection:
        connection.give(order(clinic))
        connection.expect(frames.JobProgress)
        if stopped:
            connection.stop_worker()
        assert connection.end() == "exit status 0"
        assert connection.worker_gone()


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
def test_a_killed_supervisor_takes_its_worker_along(clinic: Clinic, start: Start, stopped: bool) -> None:
    with start("deaf") as connection:
        connection.give(order(clinic))
        connection.expect(frames.JobProgress)
        if stopped:
            connection.stop_worker()
        connection.child.kill()
        assert connection.worker_gone()
        assert connection.wait_ended() == "killed by SIGKILL"


def test_the_workers_own_children_end_with_the_connection(clinic: Clinic, start: Start) -> None:
    with start("family") as connection:
        connection.give(order(clinic))
        connection.expect(frames.JobProgress)
        grandchild = os.pidfd_open(int((clinic.state / "child.pid").read_text(encoding="ascii")))
        connection.end()
        assert gone(grandchild)
        os.close(grandchild)


def test_sigterm_ends_all(clinic: Clinic, start: Start) -> None:
    with start("deaf") as connection:
        connection.give(order(clinic))
        connection.expect(frames.JobProgress)
        signal.pidfd_send_signal(connection.child.pidfd, signal.SIGTERM)
        connection.expect_end()
        assert connection.wait_ended() == "exit status 0"
        assert connection.worker_gone()


def test_a_daemon_that_breaks_the_protocol_is_left(start: Start, capfd: pytest.CaptureFixture[str]) -> None:
    with start("obey") as connection:
        connection.channel._connection.send(b"\xc1 garbage")
        connection.expect_end()
        assert connection.wait_ended() == "exit status 1"
    assert "trainer: the daemon broke the trainer's protocol" in capfd.readouterr().err


# --- jobs that come and go --------------------------------------------------------------------------------------


def test_a_stopped_job_makes_room_for_the_next(clinic: Clinic, start: Start) -> None:
    with start("burn-once") as connection:
        connection.give(order(clinic))
        connection.expect(frames.JobProgress)
        connection.channel.send(frames.JobStop(study=IDENTITY.name))
        connection.give(order(clinic, 2))
        assert connection.expect(frames.JobSealed).round == 2


def test_a_stop_of_another_study_stops_nothing(clinic: Clinic, start: Start) -> None:
    with start("patient") as connection:
        connection.give(order(clinic))
        connection.expect(frames.JobProgress)
        connection.channel.send(frames.JobStop(study="another"))
        connection.channel.send(frames.CheckpointNow())
        connection.expect(frames.JobSealed)


def test_a_new_job_takes_the_place_of_the_one_that_runs(clinic: Clinic, start: Start) -> None:
    with start("burn-once") as connection:
        connection.give(order(clinic))
        connection.expect(frames.JobProgress)
        connection.give(order(clinic, 2))
        assert connection.expect(frames.JobSealed).round == 2


def test_a_new_trainer_waits_until_the_one_before_is_gone(clinic: Clinic, start: Start) -> None:
    first = start("deaf")
    with first:
        second = start("obey")
        poll = select.poll()
        poll.register(second.channel.fileno(), select.POLLIN)
        assert not poll.poll(1000), "it said ready beside another"
        first.end()
        with second:
            second.give(order(clinic))
            second.expect(frames.JobSealed)


def test_a_supervisor_killed_before_the_result_left_seals_it_again(
    clinic: Clinic, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENVIRONMENT, Failpoint.UPDATE_SEALED)
    plain = model_bytes(IDENTITY)
    with start("obey") as connection:
        connection.give(msgspec.structs.replace(order(clinic), model=plain))
        connection.expect_end()
        assert connection.wait_ended() == "killed by SIGKILL"
    assert '"sealed":true' in (clinic.state / "rounds.json").read_text(encoding="utf-8").replace(" ", "")


@pytest.mark.skipif(os.geteuid() != 0, reason="the supervisor hides its descriptors from its own user")
def test_a_supervisor_keeps_nothing_of_the_jobs_that_it_did(clinic: Clinic, start: Start) -> None:
    with start("obey") as connection:
        process = psutil.Process(connection.child.pid)
        counts = []
        for number in range(1, 5):
            connection.give(order(clinic, number))
            connection.expect(frames.JobSealed)
            connection.channel.send(frames.JobStop(study=IDENTITY.name))
            connection.channel.send(frames.CheckpointNow())
            connection.expect(frames.CheckpointDone)
            counts.append(process.num_fds())
        assert len(set(counts)) == 1, counts
        assert process.num_threads() == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_the_workers_user_cannot_write_the_supervisors_memory(start: Start) -> None:
    with start("obey") as connection, pytest.raises(PermissionError):
        os.open(f"/proc/{connection.ready.supervisor_pid}/mem", os.O_RDWR)


def test_neither_supervisor_nor_worker_can_gain_a_right(start: Start) -> None:
    with start("obey") as connection:
        for pid in (connection.ready.supervisor_pid, connection.ready.worker_pid):
            assert "NoNewPrivs:\t1" in Path(f"/proc/{pid}/status").read_text(encoding="ascii")
