# SPDX-License-Identifier: Apache-2.0
"""What the search for a broker says when there is none; tests/integration/test_broker.py has the real one."""

from pathlib import Path

import pytest

from fedagent.demo.broker import Broker, MosquittoProgram, find_mosquitto, free_port
from fedagent.errors import UnavailableError


def write_program(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    program = folder / "mosquitto"
    program.write_text(f"#!/bin/sh\n{text}\n", "utf-8")
    program.chmod(0o755)
    return program


def test_without_mosquitto_and_apt_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(UnavailableError, match="install the package mosquitto") as caught:
        find_mosquitto(tmp_path / "cache", search_path=str(tmp_path / "empty"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("echo mosquitto version 1.6.9", id="too old"),
        pytest.param("echo hello", id="another program"),
        pytest.param("exit 9", id="broken"),
        pytest.param("[ $1 = -h ] && echo mosquitto version 2.0.11", id="does not start"),
    ],
)
def test_a_program_that_does_not_work_is_not_taken(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_program(tmp_path / "bin", script)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(UnavailableError, match="install the package mosquitto"):
        find_mosquitto(tmp_path / "cache", search_path=str(tmp_path / "bin"))


def test_a_broker_that_ends_at_once_is_reported_with_its_last_words(tmp_path: Path) -> None:
    path = write_program(tmp_path, "echo no such file >&2; exit 3")
    program = MosquittoProgram(path=path, version="2.0.11", environment={})
    broker = Broker(program, configuration=tmp_path / "none", port=free_port(), log=tmp_path / "log")
    with pytest.raises(UnavailableError, match=r"ended before it accepted.*no such file"), broker:
        pass
    with pytest.raises(UnavailableError, match="not running"):
        _ = broker.pid
