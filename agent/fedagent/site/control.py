# SPDX-License-Identifier: Apache-2.0
"""What the site's control socket is asked, and what it answers.

Rule: everybody on the machine may read the status; only root, the daemon's own user and group ``fedagent-admin`` may
pause and resume (SO_PEERCRED, unix(7)).
"""

import asyncio
import grp
import os
import pwd
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from fedagent.conditions.condition import Said
from fedagent.conditions.site import MAY_NOT_PAUSE
from fedagent.errors import FedagentError, UsageError
from fedagent.site.status import SiteStatus
from fedagent.transport import control_socket
from fedagent.wire.study import Study

ADMINISTRATORS: Final = "fedagent-admin"
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

    said: Said


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
    """Listens to everybody; what one may is decided by who asks. The caller closes the server.

    Raises:
        StorageError: the socket cannot be made.
    """

    async def answer(line: bytes, peer: control_socket.Peer) -> AnyAnswer:
        try:
            request: AnyAsk = control_socket.parse(line, AnyAsk)
        except UsageError as error:
            return Problem(said=error.said)
        if isinstance(request, AskPause | AskResume) and not _may_administrate(peer):
            return Problem(said=MAY_NOT_PAUSE(group=ADMINISTRATORS))
        asked = Asked(request, _user_name(peer.user_id), asyncio.get_running_loop().create_future())
        on_asked(asked)
        return await asked.answer

    return await control_socket.listen(path, answer, mode=0o666, limit_s=ANSWER_S)


def _user_name(user_id: int) -> str:
    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:
        return str(user_id)


def _may_administrate(peer: control_socket.Peer) -> bool:
    if peer.user_id in (0, os.geteuid()):
        return True
    try:
        group = grp.getgrnam(ADMINISTRATORS)
    except KeyError:
        return False
    return peer.group_id == group.gr_gid or _user_name(peer.user_id) in group.gr_mem


def ask(runtime: Path, request: AnyAsk) -> AnyAnswer:
    """The running daemon's answer.

    Raises:
        UnavailableError: no daemon listens there.
        FedagentError: the daemon refused; it exits as the daemon's reason does.
    """
    answer: AnyAnswer = control_socket.ask(
        socket_path(runtime), request, AnyAnswer, program="fedagent", limit_s=ANSWER_S
    )
    if isinstance(answer, Problem):
        raise FedagentError(answer.said)
    return answer
