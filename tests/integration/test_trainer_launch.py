# SPDX-License-Identifier: Apache-2.0
"""The daemon's view: a trainer that comes, trains, is stopped, goes on, and is gone exactly once."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from fedagent.channel import close_all
from fedagent.conditions.trainer import TRAINER_EXITED, TRAINER_KILLED
from fedagent.launch import child, trainer
from fedagent.wire import frames
from fedagent.wire.messages import RoundKind
from tests.fakes.clinic import IDENTITY, Clinic, model_bytes
from tests.fakes.connection import gone, program, read_all
from tests.fakes.holder import daemon, play


@pytest.fixture
def clinic(tmp_path: Path) -> Clinic:
    clinic = Clinic(tmp_path)
    clinic.approve(IDENTITY)
    return clinic


def set_behaviour(monkeypatch: pytest.MonkeyPatch, behaviour: str) -> None:
    monkeypatch.setattr(child, "PROGRAM", program(behaviour))


def test_the_real_worker_does_the_identity_task_end_to_end(clinic: Clinic) -> None:
    async def scene() -> None:
        async with daemon(clinic) as held:
            await held.came()
            for number in (1, 2):
                held.give(number)
                sealed, descriptors = await held.frame(frames.JobSealed)
                secret, plain = clinic.open_update(sealed, read_all(descriptors))
                assert plain == model_bytes(IDENTITY, 0.5)
                assert (secret.rows, secret.metrics) == (1, ())
            held.give(3, RoundKind.EVALUATE)
            evaluated, none = await held.frame(frames.JobSealed)
            assert (evaluated.round, none) == (3, ())

    play(scene())


def test_a_frozen_worker_uses_no_cpu_and_goes_on_when_thawed(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_behaviour(monkeypatch, "burn")

    async def scene() -> None:
        async with daemon(clinic) as held:
            await held.came()
            held.give()
            await held.frame(frames.JobProgress)
            worker = psutil.Process(held.ready.worker_pid)
            held.trainer.freeze()
            assert await held.quiet()
            before = worker.cpu_times()
            assert worker.status() == psutil.STATUS_STOPPED
            assert await held.quiet()
            assert worker.cpu_times() == before
            held.trainer.thaw()
            await held.frame(frames.JobProgress)
            await held.frame(frames.JobProgress)

    play(scene())


def test_a_freeze_before_the_start_holds_from_the_first_instant(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_behaviour(monkeypatch, "obey")

    async def scene() -> None:
        async with daemon(clinic) as held:
            held.trainer.freeze()
            await held.came()
            held.give()
            assert await held.quiet()
            assert clinic.jobs == []
            held.trainer.thaw()
            await held.frame(frames.JobSealed)

    play(scene())


def test_a_freeze_holds_for_the_worker_that_comes_after_a_stopped_job(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_behaviour(monkeypatch, "burn-once")

    async def scene() -> None:
        async with daemon(clinic) as held:
            await held.came()
            held.give()
            await held.frame(frames.JobProgress)
            held.trainer.freeze()
            held.trainer.send(frames.JobStop(study=IDENTITY.name))
            assert await held.quiet()
            held.give(2)
            assert await held.quiet()
            held.trainer.thaw()
            sealed, descriptors = await held.frame(frames.JobSealed)
            close_all(descriptors)
            assert sealed.round == 2

    play(scene())


@pytest.mark.parametrize("frozen", [False, True], ids=["running", "frozen"])
def test_close_ends_all_and_says_so_once(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch, frozen: bool
) -> None:
    set_behaviour(monkeypatch, "deaf")

    async def scene() -> None:
        async with daemon(clinic) as held:
            await held.came()
            held.give()
            await held.frame(frames.JobProgress)
            worker = os.pidfd_open(held.ready.worker_pid)
            if frozen:
                held.trainer.freeze()
            held.trainer.close()
            held.trainer.close()
            await held.trainer.wait_closed()
            assert gone(worker)
            os.close(worker)
            assert await held.gone() == str(TRAINER_EXITED(status=0))
            assert held.events.empty()
            held.trainer.send(frames.CheckpointNow())  # nobody is there: nothing happens
            held.trainer.freeze()
            held.trainer.kill_worker()

    play(scene())


def test_a_killed_worker_ends_the_trainer(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    set_behaviour(monkeypatch, "deaf")

    async def scene() -> None:
        async with daemon(clinic) as held:
            await held.came()
            held.give()
            await held.frame(frames.JobProgress)
            held.trainer.freeze()
            held.trainer.kill_worker()
            assert await held.gone() == str(TRAINER_EXITED(status=0))

    play(scene())


def test_a_killed_supervisor_leaves_nothing(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    set_behaviour(monkeypatch, "family")

    async def scene() -> None:
        async with daemon(clinic) as held:
            await held.came()
            held.give()
            await held.frame(frames.JobProgress)
            grandchild = os.pidfd_open(int((clinic.state / "child.pid").read_text(encoding="ascii")))
            psutil.Process(held.ready.supervisor_pid).kill()
            assert await held.gone() == str(TRAINER_KILLED(signal="SIGKILL"))
            assert gone(grandchild)
            os.close(grandchild)

    play(scene())


def test_a_trainer_that_cannot_start_is_gone(clinic: Clinic) -> None:
    (clinic.folder / "ca.crt").unlink()

    async def scene() -> None:
        async with daemon(clinic) as held:
            assert await held.gone() == str(TRAINER_EXITED(status=78))

    play(scene())


def test_a_trainer_that_does_not_end_by_itself_is_killed(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "END_LIMIT_S", 0.1)
    monkeypatch.setattr(child, "PROGRAM", ("-c", "import signal; signal.pause()"))

    async def scene() -> None:
        async with daemon(clinic) as held:
            held.trainer.close()
            assert await held.gone() == str(TRAINER_KILLED(signal="SIGKILL"))

    play(scene())


def test_a_trainer_that_says_nothing_is_given_up(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "READY_LIMIT_S", 0.1)
    monkeypatch.setattr(trainer, "END_LIMIT_S", 0.1)
    monkeypatch.setattr(child, "PROGRAM", ("-c", "import signal; signal.pause()"))

    async def scene() -> None:
        async with daemon(clinic) as held:
            assert await held.gone() == "no trainer came within 0.1 s; see journalctl -u fedagent-trainer"

    play(scene())


@pytest.mark.parametrize(
    "said",
    [r"b'\xc1'", "bytes(150_000)", r"b'\x82\xa5frame\xafcheckpoint-done\xa4step\x01'"],
    ids=["garbage", "too long", "another frame first"],
)
def test_a_trainer_that_breaks_the_protocol_is_left(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    speak = f"import socket; s = socket.socket(fileno=3); s.send({said}); s.recv(1)"
    monkeypatch.setattr(child, "PROGRAM", ("-c", speak))

    async def scene() -> None:
        async with daemon(clinic) as held:
            assert (await held.gone()).startswith("the trainer broke its protocol")

    play(scene())


def test_the_daemons_side_imports_neither_torch_nor_numpy() -> None:
    check = "import sys, fedagent.launch.trainer; sys.exit(bool({'torch', 'numpy'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_the_supervisor_imports_no_torch() -> None:
    check = "import sys, fedagent.trainer.supervisor; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
