# SPDX-License-Identifier: Apache-2.0
"""The control socket: who may ask, and what a wrong question gets."""

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from fedagent.aggregator import control
from fedagent.errors import FedagentError, StorageError, UnavailableError, UsageError

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
    ("problem", "error"),
    [
        (control.Problem(text="no such study", usage=True), UsageError),
        (control.Problem(text="the disk is full"), FedagentError),
    ],
)
def test_what_the_daemon_cannot_do_is_an_error_with_its_text(
    tmp_path: Path, problem: control.Problem, error: type[FedagentError]
) -> None:
    path = tmp_path / "control.sock"

    def question() -> None:
        with pytest.raises(error, match=problem.text):
            control.ask(path, ASK)

    answer_with(path, problem, question)


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

    answer_with(path, control.Problem(text="try sudo"), question)
