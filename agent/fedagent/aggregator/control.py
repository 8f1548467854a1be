# SPDX-License-Identifier: Apache-2.0
"""What the aggregator's control socket is asked, and what it answers.

Rule: only root and the daemon's own user may ask (SO_PEERCRED, unix(7)). Reports need no daemon: commands read the store.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from fedagent.conditions.aggregator import MAY_NOT_ASK
from fedagent.conditions.broker import OTHER_ANSWER
from fedagent.conditions.condition import Said
from fedagent.errors import FedagentError, UnavailableError, UsageError
from fedagent.transport import control_socket
from fedagent.wire.study import Study

ANSWER_S: Final = 30.0
LOOK_S: Final = 2.0
"""Whoever only looks does not wait longer: that nobody answers is what they want to see."""


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


class AskStatus(Ask, frozen=True, tag="status"):
    """Is the broker there?"""


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="answer"):
    """A reply."""


class Done(Answer, frozen=True, tag="done"):
    """It was done."""


class Problem(Answer, frozen=True, tag="problem"):
    """It was not done, and why."""

    said: Said


class BrokerView(msgspec.Struct, frozen=True, kw_only=True):
    """The connection to the broker; times in Unix seconds. ``reason`` says why there is none."""

    connected: bool
    since: float
    reason: str
    retry_at: float | None


class StatusAnswer(Answer, frozen=True, tag="status"):
    """How the daemon is."""

    broker: BrokerView


AnyAsk = CreateStudy | StartStudy | StopStudy | AskStatus
AnyAnswer = Done | Problem | StatusAnswer


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

    async def answer(line: bytes, peer: control_socket.Peer) -> AnyAnswer:
        if peer.user_id not in (0, os.geteuid()):
            return Problem(said=MAY_NOT_ASK())
        try:
            request: AnyAsk = control_socket.parse(line, AnyAsk)
        except UsageError as error:
            return Problem(said=error.said)
        asked = asyncio.get_running_loop().create_future()
        on_asked(Asked(request, asked))
        answered: AnyAnswer = await asked
        return answered

    return await control_socket.listen(path, answer, mode=0o600, limit_s=ANSWER_S)


def ask(path: Path, request: AnyAsk) -> None:
    """The running daemon has done it.

    Raises:
        UnavailableError: no daemon listens there.
        FedagentError: the daemon refused; it exits as the daemon's reason does.
    """
    answer: AnyAnswer = control_socket.ask(
        path, request, AnyAnswer, program="fedaggregator", limit_s=ANSWER_S
    )
    if isinstance(answer, Problem):
        raise FedagentError(answer.said)


def look(path: Path) -> BrokerView:
    """The running daemon's connection to the broker.

    Raises:
        UnavailableError: no daemon answers there, or one of another version.
        FedagentError: the daemon refused.
    """
    answer: AnyAnswer = control_socket.ask(
        path, AskStatus(), AnyAnswer, program="fedaggregator", limit_s=LOOK_S
    )
    if isinstance(answer, Problem):
        raise FedagentError(answer.said)
    if not isinstance(answer, StatusAnswer):
        raise UnavailableError(OTHER_ANSWER())
    return answer.broker
