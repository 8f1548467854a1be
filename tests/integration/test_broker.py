# SPDX-License-Identifier: Apache-2.0
"""A real mosquitto is found or unpacked, started and ended."""

import getpass
import os
import shutil
import socket
from pathlib import Path

import psutil
import pytest

from fedagent.demo.broker import LOOPBACK, Broker, MosquittoProgram, find_mosquitto, free_port
from fedagent.errors import UnavailableError


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> MosquittoProgram:
    return find_mosquitto(tmp_path_factory.mktemp("cache"))


def broker(program: MosquittoProgram, folder: Path, *lines: str) -> Broker:
    port = free_port()
    configuration = folder / "mosquitto.conf"
    configuration.write_text(
        "\n".join([f"listener {port} {LOOPBACK}", f"user {getpass.getuser()}", *lines]) + "\n", "utf-8"
    )
    return Broker(program, configuration=configuration, port=port, log=folder / "log")


def test_a_started_broker_accepts_connections_and_ends_with_its_owner(
    program: MosquittoProgram, tmp_path: Path
) -> None:
    with broker(program, tmp_path) as running:
        socket.create_connection((LOOPBACK, running.port), timeout=5).close()
        pid = running.pid
    assert not psutil.pid_exists(pid)
    assert running.port != free_port()


def test_a_killed_broker_starts_again_on_the_same_port(program: MosquittoProgram, tmp_path: Path) -> None:
    mosquitto = broker(program, tmp_path)
    with mosquitto:
        first = mosquitto.pid
        mosquitto.kill()
        with mosquitto:
            assert mosquitto.pid != first


def test_a_broker_that_refuses_its_configuration_is_reported_with_its_own_words(
    program: MosquittoProgram, tmp_path: Path
) -> None:
    with pytest.raises(UnavailableError, match="nonsense"), broker(program, tmp_path, "nonsense true"):
        pass


def test_a_missing_broker_is_unpacked_into_the_cache_and_found_there_again(tmp_path: Path) -> None:
    if shutil.which("apt-get") is None:
        pytest.skip("no apt-get on this machine")
    fetched = find_mosquitto(tmp_path, search_path=os.devnull)
    assert fetched.path.is_relative_to(tmp_path)
    assert find_mosquitto(tmp_path, search_path=os.devnull) == fetched
