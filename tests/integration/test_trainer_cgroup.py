# SPDX-License-Identifier: Apache-2.0
"""The supervisor in a cgroup v2 of its own, as ``Delegate=yes`` gives one: freeze, kill and end by cgroup."""

import asyncio
import contextlib
import os
import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedagent.channel import close_all
from fedagent.conditions.trainer import TRAINER_EXITED
from fedagent.launch import child
from fedagent.launch.trainer import Trainer, TrainerCame, TrainerEvent, TrainerFrame, TrainerGone
from fedagent.trainer.groups import parse_mountinfo
from fedagent.wire import frames
from tests.fakes.clinic import IDENTITY, Clinic
from tests.fakes.connection import program

TIMEOUT_S = 60.0


@pytest.fixture
def unit() -> Iterator[Path]:
    """An empty cgroup."""
    root = parse_mountinfo(Path("/proc/self/mountinfo").read_text(encoding="utf-8"))
    folder = None if root is None else root / f"fedagent-test-{os.getpid()}"
    try:
        if folder is None:
            raise FileNotFoundError("cgroup v2")
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error}")
    yield folder
    for part in (folder / "work", folder / "main", folder):
        with contextlib.suppress(FileNotFoundError):
            wait_for(part, "populated 0")
            part.rmdir()


@pytest.fixture
def clinic(tmp_path: Path, unit: Path, monkeypatch: pytest.MonkeyPatch) -> Clinic:
    """Its supervisor starts inside the cgroup; its worker burns."""
    enter = (
        f"import os, sys; open('{unit}/cgroup.procs', 'w').write(str(os.getpid()));"
        f" os.execv(sys.executable, [sys.executable, *{list(program('burn'))!r}, *sys.argv[1:]])"
    )
    monkeypatch.setattr(child, "PROGRAM", ("-c", enter))
    clinic = Clinic(tmp_path)
    clinic.approve(IDENTITY)
    return clinic


def wait_for(group: Path, fact: str) -> None:
    with (group / "cgroup.events").open(encoding="ascii") as file:
        poll = select.poll()
        poll.register(file.fileno(), select.POLLPRI)
        while fact not in os.pread(file.fileno(), 1000, 0).decode():
            assert poll.poll(TIMEOUT_S * 1000), f"{group.name} never became {fact}"


def used_s(group: Path) -> int:
    text = (group / "cpu.stat").read_text(encoding="ascii")
    return int(text.split("usage_usec ")[1].split()[0])


async def next_event(events: "asyncio.Queue[TrainerEvent]") -> TrainerEvent:
    return await asyncio.wait_for(events.get(), TIMEOUT_S)


async def progress(events: "asyncio.Queue[TrainerEvent]") -> None:
    event = await next_event(events)
    assert isinstance(event, TrainerFrame)
    assert isinstance(event.frame, frames.JobProgress)
    close_all(event.descriptors)


async def started(clinic: Clinic, events: "asyncio.Queue[TrainerEvent]") -> tuple[Trainer, frames.Ready]:
    trainer = Trainer(clinic.settings, clinic.config, events.put_nowait)
    trainer.start()
    came = await next_event(events)
    assert isinstance(came, TrainerCame)
    job, path = clinic.job(clinic.order(IDENTITY), came.ready.trainer_key)
    descriptor = os.open(path, os.O_RDONLY)
    trainer.send(job, [descriptor])
    os.close(descriptor)
    await progress(events)
    return trainer, came.ready


def test_the_worker_is_frozen_thawed_and_killed_by_its_cgroup(clinic: Clinic, unit: Path) -> None:
    async def scene() -> None:
        events: asyncio.Queue[TrainerEvent] = asyncio.Queue()
        trainer, ready = await started(clinic, events)
        assert ready.control == "cgroup"
        assert (unit / "work" / "cgroup.procs").read_text().split() == [str(ready.worker_pid)]
        assert (unit / "main" / "cgroup.procs").read_text().split() == [str(ready.supervisor_pid)]
        trainer.freeze()
        wait_for(unit / "work", "frozen 1")
        before = used_s(unit / "work")
        while not events.empty():
            events.get_nowait()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(progress(events), 0.5)
        assert used_s(unit / "work") == before
        trainer.thaw()
        wait_for(unit / "work", "frozen 0")
        await progress(events)
        await progress(events)
        trainer.freeze()
        wait_for(unit / "work", "frozen 1")
        trainer.kill_worker()
        wait_for(unit / "work", "populated 0")
        while not isinstance(event := await next_event(events), TrainerGone):
            pass
        assert event.reason == TRAINER_EXITED(status=0)
        await trainer.wait_closed()

    asyncio.run(scene())


def test_a_frozen_trainer_ends_with_its_connection(clinic: Clinic, unit: Path) -> None:
    async def scene() -> None:
        events: asyncio.Queue[TrainerEvent] = asyncio.Queue()
        trainer, _ = await started(clinic, events)
        trainer.freeze()
        wait_for(unit / "work", "frozen 1")
        trainer.close()
        await trainer.wait_closed()
        wait_for(unit / "work", "populated 0")

    asyncio.run(scene())
