# SPDX-License-Identifier: Apache-2.0
"""The control socket: who may ask, and what a wrong question gets."""

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from fedagent.aggregator import control
from fedagent.conditions.aggregator import MAY_NOT_ASK, NO_SUCH_STUDY
from fedagent.conditions.condition import ExitCode, Said
from fedagent.conditions.files import CANNOT_WRITE
from fedagent.errors import FedagentError, StorageError, UnavailableError

ASK = control.StartStudy(name="heart-1")


def answer_with(path: Path, answer: control.AnyAnswer, question: Callable[[], None]) -> list[control.AnyAsk]:
    """What the daemon heard while the question was asked from another thread."""
    heard: list[control.AnyAsk] = []

    def on_asked(asked: control.Asked) -> None:
        heard.append(asked.request)
        asked.reply(answer)
        asked.reply(control.Done())  # whoever answers twice is not heard twice

    async def script() -> None:
        server = await control.serve(path, on_asked)
        async with server:
            await asyncio.to_thread(question)

    asyncio.run(script())
    return heard


def test_a_request_reaches_the_daemon_and_is_done(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    assert answer_with(path, control.Done(), lambda: control.ask(path, ASK)) == [ASK]


@pytest.mark.parametrize(
    ("said", "exit_code"),
    [
        pytest.param(NO_SUCH_STUDY(study="heart-1"), ExitCode.USAGE, id="the condition's own"),
        pytest.param(CANNOT_WRITE(path="/var", reason="no space"), ExitCode.FAILED, id="failed"),
        pytest.param(Said("FA8000", "a newer daemon says so"), ExitCode.FAILED, id="not in this table"),
    ],
)
def test_a_command_ends_as_the_daemons_reason_does(tmp_path: Path, said: Said, exit_code: ExitCode) -> None:
    path = tmp_path / "control.sock"
    caught: list[FedagentError] = []

    def question() -> None:
        with pytest.raises(FedagentError) as error:
            control.ask(path, ASK)
        caught.append(error.value)

    answer_with(path, control.Problem(said=said), question)
    assert [(error.said, error.exit_code) for error in caught] == [(said, exit_code)]


def test_a_request_that_is_none_is_answered_and_does_not_reach_the_daemon(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    said = []

    def question() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(str(path))
            connection.sendall(b'{"ask": "format-disk"}\n')
            said.append(connection.recv(10_000))

    assert answer_with(path, control.Done(), question) == []
    assert b"not understood" in said[0]
    assert b"(at $" not in said[0]


def test_whoever_hangs_up_disturbs_nobody(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"

    def question() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(str(path))
        control.ask(path, ASK)

    assert answer_with(path, control.Done(), question) == [ASK]


def test_only_the_owner_may_connect(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    modes: list[int] = []
    answer_with(path, control.Done(), lambda: modes.append(path.stat().st_mode & 0o777))
    assert modes == [0o600]


def test_without_a_daemon_the_error_says_what_to_start(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="systemctl start fedaggregator"):
        control.ask(tmp_path / "control.sock", ASK)


def test_a_socket_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot listen"):
        asyncio.run(control.serve(tmp_path / "nowhere" / "control.sock", lambda _: None))


BROKER = control.BrokerView(connected=False, since=1.0, reason="refused", retry_at=None)


def test_whoever_looks_sees_the_broker(tmp_path: Path) -> None:
    path, seen = tmp_path / "control.sock", []

    def question() -> None:
        seen.append(control.look(path))

    assert answer_with(path, control.StatusAnswer(broker=BROKER), question) == [control.AskStatus()]
    assert seen == [BROKER]


def test_whoever_may_not_look_is_told_why(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"

    def question() -> None:
        with pytest.raises(FedagentError, match="try sudo"):
            control.look(path)

    answer_with(path, control.Problem(said=MAY_NOT_ASK()), question)
