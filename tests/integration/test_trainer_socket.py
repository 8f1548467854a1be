# SPDX-License-Identifier: Apache-2.0
"""A trainer behind a socket, as systemd offers one: what the daemon takes from it and what not."""

import asyncio
import socket
from pathlib import Path

import msgspec
import pytest

from fedagent.channel import FrameChannel, close_all
from fedagent.core.settings import Settings
from fedagent.wire import frames
from tests.fakes.clinic import Clinic
from tests.fakes.holder import TIMEOUT_S, daemon, play


@pytest.fixture
def clinic(tmp_path: Path) -> Clinic:
    return Clinic(tmp_path)


def by_socket(clinic: Clinic, path: Path, launch: str = "socket") -> Settings:
    settings = clinic.settings
    section = msgspec.structs.replace(settings.trainer, launch=launch, socket=str(path))
    return msgspec.structs.replace(settings, trainer=section)


def test_without_a_socket_the_trainer_is_gone_at_once(clinic: Clinic) -> None:
    async def scene() -> None:
        async with daemon(clinic, by_socket(clinic, clinic.folder / "none.sock")) as held:
            assert await held.gone() == (
                f"no trainer could be started: {clinic.folder / 'none.sock'}: No such file or directory; "
                "systemctl start fedagent-trainer.socket"
            )

    play(scene())


def test_auto_takes_a_child_where_systemd_does_not_run_the_daemon(clinic: Clinic) -> None:
    path = clinic.folder / "trainer.sock"

    async def scene() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(str(path))  # an installed service's, which is not for a daemon run by hand
            listener.listen()
            async with daemon(clinic, by_socket(clinic, path, "auto")) as held:
                await held.came()

    play(scene())


def test_a_service_never_falls_back_to_a_child(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(clinic.folder / "notify"))

    async def scene() -> None:
        async with daemon(clinic, by_socket(clinic, clinic.folder / "none.sock", "auto")) as held:
            assert await held.gone() == (
                f"no trainer could be started: {clinic.folder / 'none.sock'}: No such file or directory; "
                "systemctl start fedagent-trainer.socket"
            )

    play(scene())


def test_a_refused_connection_is_gone(clinic: Clinic) -> None:
    path = clinic.folder / "trainer.sock"

    async def scene() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(str(path))
            listener.listen()
            async with daemon(clinic, by_socket(clinic, path)) as held:
                listener.accept()[0].close()  # as systemd does beyond MaxConnections=
                assert await held.gone() == "the trainer ended; see journalctl -u fedagent-trainer"

    play(scene())


def test_a_service_that_could_not_be_paused_is_not_used(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(clinic.folder / "notify"))
    path = clinic.folder / "trainer.sock"
    ready = frames.Ready(
        version="1", control="process-group", supervisor_pid=1, worker_pid=2, trainer_key=bytes(32)
    )

    async def scene() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(str(path))
            listener.listen()
            async with daemon(clinic, by_socket(clinic, path, "auto")) as held:
                channel = FrameChannel(listener.accept()[0])
                channel.send(ready, [0])
                assert "cannot be paused: its service has no cgroup v2" in await held.gone()
                channel.close()

    play(scene())


def test_frames_wait_for_room_and_keep_their_order(clinic: Clinic) -> None:
    path = clinic.folder / "trainer.sock"
    count = 400

    async def scene() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(str(path))
            listener.listen()
            async with daemon(clinic, by_socket(clinic, path)) as held:
                connection = listener.accept()[0]
                channel = FrameChannel(connection)
                for index in range(count):
                    held.trainer.send(frames.JobStop(study=f"study-{index}"), [0])
                connection.setblocking(False)
                for index in range(count):
                    received = await receive(channel)
                    assert received.study == f"study-{index}"
                channel.close()
                assert await held.gone() == "the trainer ended; see journalctl -u fedagent-trainer"

    play(scene())


async def receive(channel: FrameChannel) -> frames.JobStop:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(channel.fileno(), readable.set)
    try:
        await asyncio.wait_for(readable.wait(), TIMEOUT_S)
    finally:
        loop.remove_reader(channel.fileno())
    received = channel.receive(frames.JobStop)
    assert received is not None
    close_all(received[1])
    return received[0]
