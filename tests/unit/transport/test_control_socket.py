# SPDX-License-Identifier: Apache-2.0
"""The socket that both daemons answer on: nonsense gets a word, silence an end, and nobody an exception."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from fedagent.errors import StorageError, UnavailableError, UsageError
from fedagent.transport.control_socket import Answerer, Peer, ask, listen, parse


class Question(msgspec.Struct, frozen=True, tag_field="ask", tag="question"):
    text: str


class Echo(msgspec.Struct, frozen=True, tag_field="answer", tag="echo"):
    text: str
    user_id: int


async def echo(line: bytes, peer: Peer) -> Echo:
    return Echo(text=parse(line, Question).text, user_id=peer.user_id)


async def asked(path: Path) -> Echo:
    """What the daemon beside us answers; the question is asked from a thread, as commands are other processes."""
    server = await listen(path, echo, mode=0o600, limit_s=5.0)
    try:
        question = Question(text="how are you?")
        answer: Echo = await asyncio.to_thread(ask, path, question, Echo, program="fedagent", limit_s=5.0)
        return answer
    finally:
        server.close()


def test_the_answer_comes_and_the_kernel_says_who_asked(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    answer = asyncio.run(asked(path))
    assert answer.text == "how are you?"
    assert answer.user_id == tmp_path.stat().st_uid


@pytest.mark.parametrize(
    "line", [b"", b"{", b"\xff", b'{"ask":"other"}', b'{"ask":"question"}', b"[" * 100_000], ids=repr
)
def test_what_is_no_request_is_refused_with_the_reason(line: bytes) -> None:
    with pytest.raises(UsageError, match="the request is not understood"):
        parse(line, Question)


def test_where_nobody_listens_the_program_to_start_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="systemctl start fedaggregator"):
        ask(tmp_path / "none.sock", Question(text=""), Echo, program="fedaggregator", limit_s=1.0)


async def question_to(answer: Answerer, path: Path) -> None:
    server = await listen(path, answer, mode=0o600, limit_s=5.0)
    try:
        await asyncio.to_thread(ask, path, Question(text=""), Echo, program="fedagent", limit_s=5.0)
    finally:
        server.close()


async def silence(_line: bytes, _peer: Peer) -> Question:
    raise ConnectionResetError


async def another(_line: bytes, _peer: Peer) -> Question:
    return Question(text="of another version")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        pytest.param(another, "speaks another version than this command; systemctl restart", id="another"),
        pytest.param(silence, "is not running", id="ended meanwhile"),
    ],
)
def test_a_daemon_of_another_version_is_told_from_one_that_is_down(
    tmp_path: Path, answer: Answerer, said: str
) -> None:
    with pytest.raises(UnavailableError, match=said):
        asyncio.run(question_to(answer, tmp_path / "control.sock"))


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot listen on"):
        asyncio.run(listen(tmp_path / "no" / "control.sock", echo, mode=0o600, limit_s=1.0))


def test_a_daemon_that_hangs_is_told_from_one_that_is_down(tmp_path: Path) -> None:
    async def run() -> None:
        ended = asyncio.Event()

        async def hang(_line: bytes, peer: Peer) -> Echo:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()
            return Echo(text="", user_id=peer.user_id)

        path = tmp_path / "control.sock"
        server = await listen(path, hang, mode=0o600, limit_s=1.0)
        try:
            with pytest.raises(UnavailableError, match="does not answer"):
                await asyncio.to_thread(ask, path, Question(text=""), Echo, program="fedagent", limit_s=0.2)
            await asyncio.wait_for(ended.wait(), 10.0)  # the daemon gives up by itself
        finally:
            server.close()

    asyncio.run(run())
