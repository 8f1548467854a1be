# SPDX-License-Identifier: Apache-2.0
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedagent.host.service import ServiceStatus


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket at which systemd would listen."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        path = str(tmp_path / "notify")
        listener.bind(path)
        listener.settimeout(5.0)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        yield listener


def test_systemd_hears_how_the_service_is(systemd: socket.socket) -> None:
    service = ServiceStatus()
    service.ready()
    service.status("training heart-1, round 3")
    before = time.monotonic_ns() // 1000
    service.reloading()
    service.stopping()
    assert [systemd.recv(1000) for _ in range(2)] == [
        b"READY=1",
        b"STATUS=training heart-1, round 3\nWATCHDOG=1",
    ]
    said, _, at = systemd.recv(1000).rpartition(b"=")
    assert said == b"RELOADING=1\nMONOTONIC_USEC"
    assert before <= int(at) <= time.monotonic_ns() // 1000
    assert systemd.recv(1000) == b"STOPPING=1"


def test_a_status_is_one_line_whatever_somebody_wrote(systemd: socket.socket) -> None:
    ServiceStatus().status("paused by anna: MRI\nMAINPID=1")
    assert systemd.recv(1000) == b"STATUS=paused by anna: MRI MAINPID=1\nWATCHDOG=1"


def test_a_status_may_be_in_any_language(systemd: socket.socket) -> None:
    ServiceStatus().status("paused by anna: отпуск, 5 €")
    assert systemd.recv(1000).decode() == "STATUS=paused by anna: отпуск, 5 €\nWATCHDOG=1"


def test_an_abstract_socket_is_one_too(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"fedagent-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}")
        listener.settimeout(5.0)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        ServiceStatus().ready()
        assert listener.recv(100) == b"READY=1"


def test_a_systemd_that_is_gone_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    ServiceStatus().ready()


def test_without_systemd_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    service = ServiceStatus()
    service.ready()
    service.status("idle")
    service.stopping()
