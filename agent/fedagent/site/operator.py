# SPDX-License-Identifier: Apache-2.0
"""What the control socket's requests get, and what they make happen."""

from typing import Protocol, assert_never

import msgspec

from fedagent.conditions.site import NO_STUDY_HERE
from fedagent.core import events as on
from fedagent.core.facts import Instant
from fedagent.core.governor import ManualPause
from fedagent.core.state import AgentState, Stage
from fedagent.site import control
from fedagent.site.status import StorageView, view
from fedagent.storage.shortage import Shortage
from fedagent.transport.outage import LinkStatus
from fedagent.wire.study import study_digest


class Link(Protocol):
    """What the link to the broker knows of itself."""

    @property
    def status(self) -> LinkStatus:
        """Whether it is there, since when, and why not."""
        ...

    bytes_up: int
    bytes_down: int


def answer(
    state: AgentState, asked: control.Asked, link: Link, now: Instant, shortage: Shortage
) -> tuple[control.AnyAnswer, on.PauseAsked | on.ResumeAsked | None]:
    """The answer, and the event that the request is for the core."""
    match asked.request:
        case control.AskStatus():
            waits = StorageView(text=shortage.text, since=shortage.since) if shortage.text else None
            status = view(state, link.status, now, bytes_up=link.bytes_up, bytes_down=link.bytes_down)
            return control.StatusAnswer(status=msgspec.structs.replace(status, storage=waits)), None
        case control.AskStudy(name=name):
            return _study(state, name), None
        case control.AskPause(for_s=for_s, reason=reason):
            until = now.wall + for_s if for_s is not None else None
            pause = ManualPause(by=asked.user, reason=reason, until=until)
            return control.Done(text="paused"), on.PauseAsked(pause=pause)
        case control.AskResume():
            return control.Done(text="resumed"), on.ResumeAsked()
        case _:
            assert_never(asked.request)


def _study(state: AgentState, name: str) -> control.AnyAnswer:
    known = state.studies.get(name)
    if known is None:
        return control.Problem(said=NO_STUDY_HERE(study=name))
    study = known.announcement.study
    return control.StudyAnswer(
        study=study, digest=study_digest(study).hex(), note=known.note.text if known.note else ""
    )


def summary(state: AgentState) -> str:
    """One line for ``systemctl status``: the round in words, or the verdict."""
    study = state.studies.get(state.trainer.study or "")
    if study is not None and state.trainer.stage is Stage.BUSY:
        return f"training {study.name}, round {study.round}"
    return state.standing.said.text if not state.standing.go else f"idle, {len(state.studies)} studies"
