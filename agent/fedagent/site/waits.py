# SPDX-License-Identifier: Apache-2.0
"""What a study at this site waits for, and until when: in words that an administrator who knows no federation understands.

Rule: derived from the state, never stored; each phase has its words here.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple, assert_never

from fedagent.conditions.site import OBSERVING
from fedagent.core.agent import SILENT_S
from fedagent.core.facts import Instant
from fedagent.core.governor import lasts_until
from fedagent.core.occupancy import START_LIMIT_S
from fedagent.core.round import Phase
from fedagent.core.state import AgentState, Stage, StudyState, TrainerState
from fedagent.transport.outage import LinkStatus


class Wait(NamedTuple):
    """``what`` completes "waits for"; empty where nothing is waited for.

    Attributes:
        until: when that ends by itself, ``again_at`` when this site tries again; Unix seconds.
    """

    what: str = ""
    until: float | None = None
    again_at: float | None = None


_ASKED: Final[Mapping[Phase, str]] = {
    Phase.JOINING: "send the model's key",
    Phase.FETCHING: "send the model",
    Phase.SPOOLED: "take the update",
}
"""What the aggregator is to do next."""

_RESTS: Final[Mapping[Phase, str]] = {
    Phase.DELIVERED: "the other sites: the round closes when all have answered, or at its deadline",
    Phase.DECLINED: "this round to end: the site takes no part in it",
}
"""What is waited for by a site that has done its part."""


def wait_of(state: AgentState, study: StudyState, link: LinkStatus, now: Instant) -> Wait:
    """What this study waits for now."""
    phase = study.phase
    if phase is Phase.UNAPPROVED:
        return _approval(state, study)
    if phase in (Phase.READY, Phase.TRAINING) or (phase is Phase.JOINING and not study.trainer_key):
        return _trainer(state, study, now)
    if phase in _ASKED:
        return _aggregator(state, link, now) or Wait(
            f"the aggregator to {_ASKED[phase]}", again_at=asks_at(state, now)
        )
    if phase in _RESTS:
        return _aggregator(state, link, now) or Wait(_RESTS[phase], study.announcement.deadline_at)
    return Wait()


def silent(state: AgentState, now: Instant) -> bool:
    """Whether the aggregator owes us an answer for longer than an answer takes."""
    return state.silent_since is not None and now.monotonic - state.silent_since >= SILENT_S


def asks_at(state: AgentState, now: Instant) -> float:
    """When this site asks the aggregator again, by the wall clock."""
    return wall(state.asked_at + state.ask_after_s, now)


def retry_at(link: LinkStatus, now: Instant) -> float | None:
    """When the next attempt to connect is made, by the wall clock; None where one is under way."""
    return None if link.retry_in_s is None else round(now.wall + link.retry_in_s)


def wall(monotonic: float, now: Instant) -> float:
    """A monotonic time by the wall clock, to the second: it is a difference of two clocks that are read anew each time."""
    return round(now.wall + monotonic - now.monotonic)


def verdict_until(state: AgentState, now: Instant) -> float | None:
    """When the verdict will change by itself, where that is known."""
    found = lasts_until(state.standing, state.policy, now, pause=state.record.pause, facts=state.facts)
    return None if found is None else round(found)


def _approval(state: AgentState, study: StudyState) -> Wait:
    if state.observe:
        return Wait(f"nothing: {OBSERVING()}")
    return Wait(f"this site's administrator: {study.note or 'the approvals are being read'}")


def _aggregator(state: AgentState, link: LinkStatus, now: Instant) -> Wait | None:
    """The way to the aggregator, where that is what is lacking."""
    if not link.connected:
        return Wait("a connection to the broker", again_at=retry_at(link, now))
    if silent(state, now):
        return Wait("the aggregator, which does not answer", again_at=asks_at(state, now))
    return None


def _trainer(state: AgentState, study: StudyState, now: Instant) -> Wait:
    trainer = state.trainer
    if not state.standing.go:
        return Wait(f"the machine: {state.standing.said}", verdict_until(state, now))
    match trainer.stage:
        case Stage.BUSY | Stage.FROZEN | Stage.VACATING:
            return _job(trainer, study)
        case Stage.STARTING:
            return Wait("the trainer to start", wall(trainer.since + START_LIMIT_S, now))
        case Stage.ABSENT if trainer.failures:
            return Wait("the trainer to start after it failed", again_at=wall(trainer.retry_at, now))
        case Stage.ABSENT | Stage.IDLE:
            return Wait("the trainer to start")
        case _:
            assert_never(trainer.stage)


def _job(trainer: TrainerState, study: StudyState) -> Wait:
    if trainer.study != study.name:
        return Wait(f"study {trainer.study}, which is trained first")
    if trainer.progress is None:
        return Wait("the training to begin")
    return Wait(f"the training: step {trainer.progress.step} of {trainer.progress.steps}")
