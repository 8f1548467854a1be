# SPDX-License-Identifier: Apache-2.0
"""The control socket: one JSON line asks, one JSON line answers, then the connection ends.

Rule: everybody on the machine may read the status; only root, the daemon's own user and group ``fedagent-admin`` may
pause and resume (SO_PEERCRED, unix(7)).
"""

import asyncio
import grp
import os
import pwd
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from fedagent.errors import FedagentError, StorageError, UnavailableError
from fedagent.site.status import SiteStatus
from fedagent.wire.study import Study

ADMINISTRATORS: Final = "fedagent-admin"
LINE_BYTES: Final = 1_048_576
ANSWER_S: Final = 5.0
LONGEST_PAUSE_S: Final = 31_536_000
"""One year: whoever wants longer sets ``mode = "observe"``."""


class Ask(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="ask"):
    """A request."""


class AskStatus(Ask, frozen=True, tag="status"):
    """How is the site?"""


class AskStudy(Ask, frozen=True, tag="study"):
    """What exactly is this study?"""

    name: str


class AskPause(Ask, frozen=True, tag="pause"):
    """Stop training now; for so many seconds, or until resumed."""

    for_s: Annotated[float, Meta(gt=0.0, le=LONGEST_PAUSE_S)] | None = None
    reason: Annotated[str, Meta(max_length=200)] = ""


class AskResume(Ask, frozen=True, tag="resume"):
    """End the pause."""


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="answer"):
    """A reply."""


class StatusAnswer(Answer, frozen=True, tag="status"):
    """The whole status."""

    status: SiteStatus


class StudyAnswer(Answer, frozen=True, tag="study"):
    """The study as the aggregator announced it."""

    study: Study
    digest: str
    note: str


class Done(Answer, frozen=True, tag="done"):
    """It was done."""

    text: str


class Problem(Answer, frozen=True, tag="problem"):
    """It was not done, and why."""

    text: str


AnyAsk = AskStatus | AskStudy | AskPause | AskResume
AnyAnswer = StatusAnswer | StudyAnswer | Done | Problem


class Asked:
    """A request in the daemon's inbox, with the user who asked and the place for the answer."""

    def __init__(self, request: AnyAsk, user: str, answer: "asyncio.Future[AnyAnswer]") -> None:
        self.request = request
        self.user = user
        self.answer = answer


def socket_path(runtime: Path) -> Path:
    """Where the daemon listens."""
    return runtime / "control.sock"


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
        os.chmod(path, 0o666)  # noqa: PTH101, S103 (everybody may ask; what one may is decided by who asks)
    except OSError as error:
        raise StorageError(
            f"cannot listen on {path}: {error.strerror}; correct the folder's owner"
        ) from error
    return server


async def _reply(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, on_asked: Callable[[Asked], None]
) -> AnyAnswer:
    try:
        request = msgspec.json.decode(await reader.readline(), type=AnyAsk)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Problem(text=f"the request is not understood: {error}")
    user_id, group_id = _peer(writer)
    if isinstance(request, AskPause | AskResume) and not _may_administrate(user_id, group_id):
        return Problem(text=f"only root and group {ADMINISTRATORS} may pause and resume: try sudo")
    asked = Asked(request, _user_name(user_id), asyncio.get_running_loop().create_future())
    on_asked(asked)
    return await asked.answer


def _peer(writer: asyncio.StreamWriter) -> tuple[int, int]:
    """User and group id of the process at the other end."""
    connection = writer.get_extra_info("socket")
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _process, user_id, group_id = struct.unpack("3i", credentials)
    return user_id, group_id


def _user_name(user_id: int) -> str:
    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:
        return str(user_id)


def _may_administrate(user_id: int, group_id: int) -> bool:
    if user_id in (0, os.geteuid()):
        return True
    try:
        group = grp.getgrnam(ADMINISTRATORS)
    except KeyError:
        return False
    return group_id == group.gr_gid or _user_name(user_id) in group.gr_mem


def ask(runtime: Path, request: AnyAsk) -> AnyAnswer:
    """The running daemon's answer.

    Raises:
        UnavailableError: no daemon listens there.
        FedagentError: the daemon refused.
    """
    path = socket_path(runtime)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(ANSWER_S)
            connection.connect(str(path))
            connection.sendall(msgspec.json.encode(request) + b"\n")
            with connection.makefile("rb") as lines:
                line = lines.readline(LINE_BYTES)
        answer: AnyAnswer = msgspec.json.decode(line, type=AnyAnswer)
    except PermissionError as error:
        raise UnavailableError(f"cannot reach fedagent at {path}: {error.strerror}; try sudo") from error
    except TimeoutError as error:
        raise UnavailableError(
            f"fedagent does not answer at {path} within {ANSWER_S:g} s: systemctl status fedagent"
        ) from error
    except (OSError, msgspec.DecodeError) as error:
        raise UnavailableError(
            f"fedagent is not running (nobody answers at {path}): systemctl start fedagent"
        ) from error
    if isinstance(answer, Problem):
        raise FedagentError(answer.text)
    return answer
