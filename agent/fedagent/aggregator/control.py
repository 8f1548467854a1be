# SPDX-License-Identifier: Apache-2.0
"""The control socket: one JSON line asks, one JSON line answers, then the connection ends.

Rule: only root and the daemon's own user may ask (SO_PEERCRED, unix(7)). Reports need no daemon: commands read the store.
"""

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from fedagent.errors import FedagentError, StorageError, UnavailableError, UsageError
from fedagent.wire.study import Study

LINE_BYTES: Final = 1_048_576
ANSWER_S: Final = 30.0


class Ask(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="ask"):
    """A request."""


class CreateStudy(Ask, frozen=True, tag="create"):
    """There shall be this study."""

    study: Study


class StartStudy(Ask, frozen=True, tag="start"):
    """The study shall run."""

    name: str


class StopStudy(Ask, frozen=True, tag="stop"):
    """The study shall end now."""

    name: str
    text: str


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="answer"):
    """A reply."""


class Done(Answer, frozen=True, tag="done"):
    """It was done."""


class Problem(Answer, frozen=True, tag="problem"):
    """It was not done, and why; ``usage`` where the request made no sense."""

    text: str
    usage: bool = False


AnyAsk = CreateStudy | StartStudy | StopStudy
AnyAnswer = Done | Problem


class Asked:
    """A request in the daemon's inbox, with the place for its answer."""

    def __init__(self, request: AnyAsk, answer: "asyncio.Future[AnyAnswer]") -> None:
        self.request, self._answer = request, answer

    def reply(self, answer: AnyAnswer) -> None:
        """Answers, if whoever asked still waits."""
        if not self._answer.done():
            self._answer.set_result(answer)


async def serve(path: Path, on_asked: Callable[[Asked], None]) -> asyncio.Server:
    """Listens; the caller closes the server.

    Raises:
        StorageError: the socket cannot be made.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(ANSWER_S):
                reply = await _reply(reader, writer, on_asked)
                writer.write(msgspec.json.encode(reply) + b"\n")
                await writer.drain()
        except (TimeoutError, ConnectionError, ValueError):
            pass  # Whoever asked is gone, or asked too much: nobody is there to be told.
        finally:
            writer.close()

    try:
        server = await asyncio.start_unix_server(answer, path, limit=LINE_BYTES)
        os.chmod(path, 0o600)  # noqa: PTH101 (one system call on a local socket)
    except OSError as error:
        raise StorageError(
            f"cannot listen on {path}: {error.strerror}; correct the folder's owner"
        ) from error
    return server


async def _reply(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, on_asked: Callable[[Asked], None]
) -> AnyAnswer:
    connection = writer.get_extra_info("socket")
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    if struct.unpack("3i", credentials)[1] not in (0, os.geteuid()):
        return Problem(text="only root and the aggregator's own user may do this: try sudo")
    try:
        request = msgspec.json.decode(await reader.readline(), type=AnyAsk)
    except msgspec.DecodeError as error:
        return Problem(text=f"the request is not understood: {error}")
    asked = asyncio.get_running_loop().create_future()
    on_asked(Asked(request, asked))
    answer: AnyAnswer = await asked
    return answer


def ask(path: Path, request: AnyAsk) -> None:
    """The running daemon has done it.

    Raises:
        UnavailableError: no daemon listens there.
        UsageError: the request makes no sense now.
        FedagentError: the daemon refused.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(ANSWER_S)
            connection.connect(str(path))
            connection.sendall(msgspec.json.encode(request) + b"\n")
            with connection.makefile("rb") as lines:
                answer = msgspec.json.decode(lines.readline(LINE_BYTES), type=AnyAnswer)
    except (OSError, msgspec.DecodeError) as error:
        raise UnavailableError(
            f"fedaggregator is not running (nobody answers at {path}): systemctl start fedaggregator"
        ) from error
    if isinstance(answer, Problem):
        raise (UsageError if answer.usage else FedagentError)(answer.text)
