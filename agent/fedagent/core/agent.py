# SPDX-License-Identifier: Apache-2.0
"""The site daemon's one decision function: state and event in, state and commands out.

Rule: no I/O, no clock. The shell makes ``studies`` and ``record`` durable, then performs the commands in order.
"""

from collections.abc import Collection
from typing import Final, assert_never

import msgspec

from fedagent import VERSION
from fedagent.conditions.condition import Said
from fedagent.conditions.site import (
    CLOCK_WAS_SET_HERE,
    MODEL_LOST,
    NO_TRAINING,
    RESUMED,
    SETTINGS_READ,
    TWIN_STOPPED,
    UPDATE_LOST,
)
from fedagent.core import commands as do
from fedagent.core import events as on
from fedagent.core import occupancy, participation
from fedagent.core.clock import jump_s, offset_s
from fedagent.core.facts import Instant
from fedagent.core.governor import judge, settle
from fedagent.core.participation import Outcome
from fedagent.core.reasons import in_words
from fedagent.core.round import Phase, Trigger
from fedagent.core.state import AgentState, Stage, StudyState, note_error
from fedagent.wire import frames
from fedagent.wire import messages as m
from fedagent.wire.values import PROTOCOL

FIRST_ASK_S: Final = 2.0
LAST_ASK_S: Final = 60.0
"""Whoever waits for the aggregator asks again after 2 s, then after twice as long each time."""

SILENT_S: Final = 10.0
"""An aggregator that owes an answer for so long is called silent."""

NOTE_EVERY_S: Final = 10.0
"""Whoever sends nonsense decides about no more than this many of our writes to the disk."""

_WAITS_FOR_AGGREGATOR: Final = (Phase.JOINING, Phase.SPOOLED, Phase.DELIVERED, Phase.DECLINED)

AnyEvent = (
    on.Sampled | on.Connected | on.Disconnected | on.MessageArrived | on.MessageRefused | on.ApprovalsRead | on.ModelFetched
    | on.TrainerCame | on.TrainerSaid | on.UpdateSpooled | on.TrainerLost | on.PauseAsked | on.ResumeAsked
    | on.PolicyChanged | on.Woke | on.StopAsked
)  # fmt: skip


def step(state: AgentState, event: AnyEvent, now: Instant) -> Outcome:
    """What the daemon is after the event, and what it does because of it."""
    before = state
    state, done = _mind_clock(state, now)
    state, more = _take(state, event, now)
    done += more
    state = _wait_anew(before, state, event, now)
    state = _govern(state, event, now)
    state, more = occupancy.occupy(state, now)
    done += more
    if state.standing.go != before.standing.go:
        done += _verdict_changed(state)
    state, more = _ask_again(state, now)
    done += more
    if state.stopping and state.trainer.stage is Stage.ABSENT:
        done += [*_farewell(state), do.Exit()]
    return state, done


def resumed(state: AgentState, blobs: Collection[bytes], now: Instant) -> AgentState:
    """The state as loaded after a restart: nothing trains yet, and a blob may be gone with its disk.

    Args:
        blobs: digests of the complete blobs on disk.
    """
    studies = {name: _resumed(study, blobs, now) for name, study in state.studies.items()}
    return msgspec.structs.replace(state, studies=studies)


def _resumed(study: StudyState, blobs: Collection[bytes], now: Instant) -> StudyState:
    if study.phase is Phase.TRAINING:
        study = participation.advance(study, Trigger.VACATED, now)
    if study.offer is not None and study.offer.manifest.size_bytes and study.update not in blobs:
        study = participation.advance(study, Trigger.UPDATE_LOST, now, UPDATE_LOST())
        study = msgspec.structs.replace(study, offer=None, update=b"")
    if study.phase is Phase.READY and study.announcement.model.blob not in blobs:
        study = participation.advance(study, Trigger.MODEL_LOST, now, MODEL_LOST())
    return study


def _mind_clock(state: AgentState, now: Instant) -> Outcome:
    """Where somebody set the wall clock, a pause keeps the time that it had left."""
    by_s = jump_s(state.clock_s, now)
    state = msgspec.structs.replace(state, clock_s=offset_s(now))
    if not by_s:
        return state, []
    pause = state.record.pause
    if pause is not None and pause.until is not None:
        moved = msgspec.structs.replace(pause, until=pause.until + by_s)
        state = msgspec.structs.replace(state, record=msgspec.structs.replace(state.record, pause=moved))
    return state, [do.Tell(said=CLOCK_WAS_SET_HERE(seconds=by_s), reason="clock")]


def _take(state: AgentState, event: AnyEvent, now: Instant) -> Outcome:
    """The event's own effect, before the verdict is judged anew."""
    match event:
        case on.MessageArrived():
            return _hear(msgspec.structs.replace(state, silent_since=None), event, now)
        case on.MessageRefused(said=said):
            return _note_refused(state, said, now), []
        case on.Connected() | on.Disconnected():
            return _link_changed(state, event, now)
        case on.TrainerCame() | on.TrainerSaid() | on.TrainerLost() | on.UpdateSpooled():
            return _trainer_event(state, event, now)
        case on.ApprovalsRead(approvals=approvals):
            return participation.approvals_changed(msgspec.structs.replace(state, approvals=approvals), now)
        case on.ModelFetched(study=study, blob=blob):
            return participation.model_fetched(state, study, blob, now)
        case _:
            return _operator(state, event)


def _operator(
    state: AgentState,
    event: on.Sampled | on.PauseAsked | on.ResumeAsked | on.PolicyChanged | on.Woke | on.StopAsked,
) -> Outcome:
    """What the machine and its administrators say."""
    match event:
        case on.Sampled(facts=facts):
            return msgspec.structs.replace(state, facts=facts), []
        case on.PauseAsked(pause=pause):
            record = msgspec.structs.replace(state.record, pause=pause)
            return msgspec.structs.replace(state, record=record), [do.Tell(said=pause.said)]
        case on.ResumeAsked():
            record = msgspec.structs.replace(state.record, pause=None)
            return msgspec.structs.replace(state, record=record), [do.Tell(said=RESUMED())]
        case on.PolicyChanged(policy=policy):
            return msgspec.structs.replace(state, policy=policy), [do.Tell(said=SETTINGS_READ())]
        case on.StopAsked():
            return msgspec.structs.replace(state, stopping=True), []
        case on.Woke():
            return state, []
        case _:
            assert_never(event)


def _wait_anew(before: AgentState, state: AgentState, event: AnyEvent, now: Instant) -> AgentState:
    """Waiting starts anew where something moved; the mere answer to a hello would make us chat for ever."""
    was, stands = (participation.positions(each.studies.values()) for each in (before, state))
    granted = isinstance(event, on.MessageArrived) and isinstance(event.message, m.Grant)
    if was == stands and not granted:
        return state
    return msgspec.structs.replace(state, ask_after_s=FIRST_ASK_S, asked_at=now.monotonic)


def _note_refused(state: AgentState, said: Said, now: Instant) -> AgentState:
    """For people; whoever sends nonsense decides about few of our writes to the disk."""
    last = state.record.error
    if last is not None and abs(now.wall - last.at) < NOTE_EVERY_S:
        return state
    return note_error(state, said, now)


def _hear(state: AgentState, event: on.MessageArrived, now: Instant) -> Outcome:
    match event.message:
        case m.AggregatorHello() as hello:
            return participation.hear_hello(state, hello)
        case m.Announcement() as announcement:
            return participation.hear_announcement(state, announcement, event.payload, now)
        case m.ModelKey() as key:
            return participation.hear_key(state, key, now)
        case m.Grant() as grant:
            return participation.hear_grant(state, grant)
        case m.Receipt() as receipt:
            return participation.hear_receipt(state, receipt, now)
        case m.Refusal() | m.Cancel() as ended:
            return participation.hear_refusal(state, ended, now)
        case m.Twin(instance=instance):
            return _hear_twin(state, instance, now)
        case _:
            assert_never(event.message)


def _hear_twin(state: AgentState, instance: bytes, now: Instant) -> Outcome:
    """Another daemon has our identity: the one that was there first stays, and both are told."""
    if instance == state.instance:
        return msgspec.structs.replace(state, stopping=True, displaced=True), []
    said = TWIN_STOPPED(site=state.site)
    return note_error(state, said, now), [do.Tell(said=said, reason="twin")]


def _link_changed(state: AgentState, event: on.Connected | on.Disconnected, now: Instant) -> Outcome:
    if isinstance(event, on.Disconnected):
        state = note_error(state, event.reason, now)
        return msgspec.structs.replace(state, connected=False, silent_since=None), []
    state = msgspec.structs.replace(
        state, connected=True, asked_at=now.monotonic, ask_after_s=FIRST_ASK_S, silent_since=now.monotonic
    )
    fetches = [_fetch(study) for study in state.studies.values() if study.phase is Phase.FETCHING]
    return state, [
        *(do.FollowStudy(study=name) for name in state.studies),
        do.Send(message=presence(state)),
        *_greet(state),
        do.RepeatOutbox(),
        *fetches,
    ]


def _fetch(study: StudyState) -> do.Fetch:
    return do.Fetch(study=study.name, reference=study.announcement.model)


def _trainer_event(
    state: AgentState,
    event: on.TrainerCame | on.TrainerSaid | on.TrainerLost | on.UpdateSpooled,
    now: Instant,
) -> Outcome:
    match event:
        case on.TrainerCame(ready=ready):
            if state.trainer.stage is not Stage.STARTING:  # it was closed while this was on its way
                return state, []
            state = occupancy.trainer_came(state, ready, now)
            return participation.trainer_key_known(state, ready.trainer_key, now)
        case on.TrainerLost(reason=reason):
            return occupancy.trainer_lost(state, reason, now)
        case on.UpdateSpooled(sealed=sealed, manifest=manifest):
            offer = m.UpdateOffer(
                study=sealed.study, round=sealed.round, manifest=manifest, secret=sealed.secret
            )
            state, done = participation.update_spooled(state, sealed, offer, now)
            state, more = occupancy.job_ended(state, sealed.study, sealed.round, now)
            return state, done + more
        case on.TrainerSaid(frame=frame):
            return _trainer_said(state, frame, now)
        case _:
            assert_never(event)


def _trainer_said(
    state: AgentState,
    frame: frames.JobRefused | frames.JobProgress | frames.JobFailed | frames.CheckpointDone,
    now: Instant,
) -> Outcome:
    match frame:
        case frames.JobProgress():
            if not occupancy.has_job(state, frame.study, frame.round):
                return state, []
            trainer = msgspec.structs.replace(state.trainer, progress=frame)
            return msgspec.structs.replace(state, trainer=trainer), [do.Send(message=_progress(state, frame))]
        case frames.CheckpointDone():
            return occupancy.checkpoint_done(state, now)
        case frames.JobRefused() | frames.JobFailed() if frame.reason is m.Reason.NO_SPACE:
            return occupancy.job_postponed(
                state,
                frame.study,
                _round_of(state, frame),
                in_words(frame.reason, frame.text, frame.code),
                now,
            )
        case frames.JobRefused() | frames.JobFailed():
            number = _round_of(state, frame)
            state, more = occupancy.job_ended(state, frame.study, number, now)
            why = in_words(frame.reason, frame.text, frame.code)
            state, done = participation.job_failed(state, frame.study, number, frame.reason, why, now)
            return state, done + more
        case _:
            assert_never(frame)


def _round_of(state: AgentState, frame: frames.JobRefused | frames.JobFailed) -> int:
    """The frame's round; a refusal of an announcement that proves nothing can only mean the job that we gave."""
    if isinstance(frame, frames.JobRefused) and occupancy.has_job(state, frame.study):
        return state.studies[frame.study].round
    return frame.round


def _progress(state: AgentState, frame: frames.JobProgress) -> m.Progress:
    return m.Progress(
        study=frame.study,
        round=frame.round,
        phase=Phase.TRAINING.value,
        verdict=state.standing.said.text[:500],
        step=frame.step,
        steps=frame.steps,
        loss=frame.loss,
    )


def _govern(state: AgentState, event: AnyEvent, now: Instant) -> AgentState:
    """The verdict anew. Only a sample is another look: other events must not count as strikes."""
    if not isinstance(event, on.Sampled | on.PauseAsked | on.ResumeAsked | on.PolicyChanged):
        return state
    found = judge(state.facts, state.policy, now, pause=state.record.pause, current=state.standing)
    return msgspec.structs.replace(state, standing=settle(state.standing, found, state.policy, now))


def _verdict_changed(state: AgentState) -> list[do.Command]:
    against = state.standing.objection
    verdict = state.standing.said
    said = verdict if state.standing.go else NO_TRAINING(reason=verdict)
    tell = do.Tell(said=said, reason=against.signal if against else None)
    return [tell, do.Send(message=presence(state))] if state.connected else [tell]


def _ask_again(state: AgentState, now: Instant) -> Outcome:
    """Say hello again where an answer is overdue; a lost message costs seconds, never the round.

    Who waits for nothing asks at the slowest pace: a study or a round that it was not told of says so nowhere else.
    """
    waits = not state.studies or any(s.phase in _WAITS_FOR_AGGREGATOR for s in state.studies.values())
    patience_s = state.ask_after_s if waits else LAST_ASK_S
    if not state.connected or now.monotonic - state.asked_at < patience_s:
        return state, []
    later = min(LAST_ASK_S, state.ask_after_s * 2)
    silent = now.monotonic if state.silent_since is None else state.silent_since
    state = msgspec.structs.replace(state, asked_at=now.monotonic, ask_after_s=later, silent_since=silent)
    return state, [*_greet(state), do.RepeatOutbox()]


def _greet(state: AgentState) -> list[do.Command]:
    """Both together: an aggregator that answers has heard of this instance before it can hear of a copy."""
    return [do.Send(message=m.Instance(instance=state.instance)), do.Send(message=hello(state))]


def hello(state: AgentState) -> m.SiteHello:
    """What this site says at every connect, and when it has waited."""
    return m.SiteHello(
        version=VERSION, protocol=PROTOCOL, positions=participation.positions(state.studies.values())
    )


def _farewell(state: AgentState) -> list[do.Command]:
    """Who leaves in order has no last will published. A copy says nothing: its name is that of the other one."""
    gone = m.Presence(online=False, version=VERSION, protocol=PROTOCOL)
    return [do.Send(message=gone)] if state.connected and not state.displaced else []


def presence(state: AgentState) -> m.Presence:
    """What this site retains at the broker."""
    against = state.standing.objection
    return m.Presence(
        online=True,
        version=VERSION,
        protocol=PROTOCOL,
        verdict="go" if state.standing.go else "no",
        reason=against.said.text[:500] if against else "",
    )
