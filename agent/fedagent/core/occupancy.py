# SPDX-License-Identifier: Apache-2.0
"""The trainer's life: when it comes up, gets its job, freezes, thaws, gives its memory back and ends.

Rule: nothing here waits for the worker. Every stage that waits has an end.
"""

from typing import Final, assert_never

import msgspec

from fedagent.conditions.condition import Condition, Said
from fedagent.conditions.files import WAITS_FOR_ROOM
from fedagent.conditions.site import EVALUATES, TRAINER_YIELDED, TRAINING_PAUSED, TRAINING_RESUMES, TRAINS
from fedagent.conditions.trainer import NO_TRAINER, TRAINER_DIED
from fedagent.core import commands as do
from fedagent.core.facts import Instant
from fedagent.core.governor import Rung
from fedagent.core.participation import Outcome, advance, job_failed, objection_to, replace_study
from fedagent.core.round import Phase, Trigger
from fedagent.core.state import AgentState, Stage, StudyState, TrainerState, note_error
from fedagent.wire import frames
from fedagent.wire.messages import Reason, RoundKind

CHECKPOINT_GRACE_S: Final = 2.0
"""How long a worker that was asked to vacate may take to write its checkpoint."""

START_LIMIT_S: Final = 60.0
"""A trainer's first frame may take this long on a loaded machine."""

LONGEST_RETRY_S: Final = 60.0
_DOUBLINGS: Final = 6
"""A trainer that ends by itself is started again after 2 s, doubling to a minute (2**6 is past that)."""

_POISON_AFTER: Final = 3
"""A job during which the trainer died this often is declined."""

_RUNNING: Final = (Stage.BUSY, Stage.FROZEN, Stage.VACATING)


def occupy(state: AgentState, now: Instant) -> Outcome:
    """Bring the trainer to where the verdict and the studies want it, one stage at a time."""
    match state.trainer.stage:
        case Stage.ABSENT:
            return _absent(state, now)
        case Stage.STARTING:
            return _starting(state, now)
        case Stage.IDLE:
            return _idle(state, now)
        case Stage.BUSY:
            return _busy(state, now)
        case Stage.FROZEN:
            return _frozen(state, now)
        case Stage.VACATING:
            return _vacating(state, now)
        case _:
            assert_never(state.trainer.stage)


def trainer_came(state: AgentState, ready: frames.Ready, now: Instant) -> AgentState:
    """The trainer that was started is up and has no job."""
    trainer = msgspec.structs.replace(
        state.trainer, stage=Stage.IDLE, since=now.monotonic, snapshots=ready.snapshots, study=None
    )
    return msgspec.structs.replace(state, trainer=trainer)


def has_job(state: AgentState, study: str, number: int | None = None) -> bool:
    """Whether the trainer works on this study now, and on this round where one is given."""
    if state.trainer.stage not in _RUNNING or state.trainer.study != study or study not in state.studies:
        return False
    return number is None or number == state.studies[study].round


def job_ended(state: AgentState, study: str, number: int, now: Instant) -> Outcome:
    """The trainer is done with its job, whatever came of it; a worker that was frozen in that moment thaws."""
    if not has_job(state, study, number):
        return state, []
    thaw: list[do.Command] = [do.Thaw()] if state.trainer.stage is Stage.FROZEN else []
    trainer = msgspec.structs.replace(
        state.trainer, stage=Stage.IDLE, since=now.monotonic, study=None, failures=0, progress=None
    )
    return msgspec.structs.replace(_count_yield(state, now), trainer=trainer), thaw


def trainer_lost(state: AgentState, reason: Said, now: Instant) -> Outcome:
    """The trainer ended by itself: try again later; decline a job that it does not survive."""
    if state.trainer.stage is Stage.ABSENT:
        return state, []
    obeyed, name = state.trainer.stage is Stage.VACATING, state.trainer.study
    state = _count_yield(state, now)
    state = _absence(state, now) if obeyed else _failed(state, now)
    if not obeyed:
        state = note_error(state, reason, now, study=name)
    done: list[do.Command] = [
        do.CloseTrainer(),  # its end may have been on its way when another one was started
        do.Tell(said=reason, reason="trainer"),
    ]
    study = state.studies.get(name or "")
    if obeyed or study is None:
        return state, done
    study = msgspec.structs.replace(study, deaths=study.deaths + 1)
    state = replace_study(state, study)
    if study.deaths < _POISON_AFTER:
        return state, done
    why = TRAINER_DIED(deaths=study.deaths, reason=reason)
    state, more = job_failed(state, study.name, study.round, Reason.CRASHED, why, now)
    return state, done + more


def job_postponed(state: AgentState, name: str, number: int, why: Said, now: Instant) -> Outcome:
    """The trainer's disk is full: its job is given again later, and later each time; nothing of it counts against the study."""
    study = state.studies.get(name)
    if study is None or study.phase is not Phase.TRAINING or not has_job(state, name, number):
        return state, []
    failures = state.trainer.failures + 1
    state, done = job_ended(state, name, number, now)
    trainer = msgspec.structs.replace(
        state.trainer, failures=failures, retry_at=now.monotonic + _retry_s(failures)
    )
    state = msgspec.structs.replace(state, trainer=trainer)
    said = WAITS_FOR_ROOM(reason=why)
    if failures == 1:
        done.append(do.Tell(said=said, study=name, round=number, reason="disk"))
    state = replace_study(state, advance(study, Trigger.VACATED, now, said))
    return note_error(state, why, now, study=name), done


def checkpoint_done(state: AgentState, now: Instant) -> Outcome:
    """The worker's state is durable: it may go."""
    return _close(state, now) if state.trainer.stage is Stage.VACATING else (state, [])


def _absent(state: AgentState, now: Instant) -> Outcome:
    wanted = any(_wants_trainer(state, study) for study in state.studies.values())
    if not (state.standing.go and wanted and not state.stopping and now.monotonic >= state.trainer.retry_at):
        return state, []
    return _to(state, Stage.STARTING, now), [do.StartTrainer()]


def _wants_trainer(state: AgentState, study: StudyState) -> bool:
    unknown = study.phase is Phase.JOINING and not study.trainer_key
    return _may_train(state, study) or (unknown and objection_to(state, study) is None)


def _may_train(state: AgentState, study: StudyState) -> bool:
    """Ready and approved: after a restart a study is ready before the approvals were read."""
    return study.phase is Phase.READY and objection_to(state, study) is None


def _starting(state: AgentState, now: Instant) -> Outcome:
    if _must_vacate(state):
        return _close(state, now)
    if now.monotonic - state.trainer.since > START_LIMIT_S:
        said = NO_TRAINER(limit_s=START_LIMIT_S)
        return note_error(_failed(state, now), said, now), [
            do.CloseTrainer(),
            do.Tell(said=said, reason="trainer"),
        ]
    return state, []


def _idle(state: AgentState, now: Instant) -> Outcome:
    ready = sorted(
        (s for s in state.studies.values() if _may_train(state, s)), key=lambda s: (s.since, s.name)
    )
    if _must_vacate(state):
        return _close(state, now)
    if not ready or not state.standing.go or now.monotonic < state.trainer.retry_at:
        return _close(state, now) if now.monotonic - state.trainer.since > state.keep_warm_s else (state, [])
    study = advance(ready[0], Trigger.JOB_GIVEN, now)
    job = frames.Job(study=study.name, announcement=study.payload, model_key=study.model_key, site=state.site)
    trainer = msgspec.structs.replace(
        state.trainer, stage=Stage.BUSY, since=now.monotonic, study=study.name, progress=None
    )
    state = msgspec.structs.replace(replace_study(state, study), trainer=trainer)
    return state, [
        do.GiveJob(job=job, model=study.announcement.model.blob),
        do.Tell(said=_begun(study), study=study.name, round=study.round),
    ]


def _begun(study: StudyState) -> Said:
    """What the trainer now does."""
    if study.announcement.round_kind is RoundKind.EVALUATE:
        return EVALUATES(study=study.name)
    return TRAINS(study=study.name, round=study.round, rounds=study.announcement.study.federation.rounds)


def _busy(state: AgentState, now: Instant) -> Outcome:
    if _job_is_void(state):
        return _to(state, Stage.IDLE, now, study=None), [_stop_job(state)]
    if _must_vacate(state):
        return _to(state, Stage.VACATING, now), [do.AskCheckpoint()]
    if not state.standing.go:
        return _to(state, Stage.FROZEN, now), [do.Freeze(), _yielded(state, TRAINING_PAUSED)]
    return state, []


def _frozen(state: AgentState, now: Instant) -> Outcome:
    if _job_is_void(state):
        return _to(_count_yield(state, now), Stage.IDLE, now, study=None), [_stop_job(state), do.Thaw()]
    if state.standing.go:
        state = _count_yield(state, now)
        return _to(state, Stage.BUSY, now), [
            do.Thaw(),
            do.Tell(said=TRAINING_RESUMES(), study=state.trainer.study),
        ]
    if _must_vacate(state) or now.monotonic - state.trainer.since > state.policy.pause_limit_s:
        return _close(state, now)
    return state, []


def _vacating(state: AgentState, now: Instant) -> Outcome:
    if _job_is_void(state) or now.monotonic - state.trainer.since > CHECKPOINT_GRACE_S:
        return _close(state, now)
    return state, []


def _must_vacate(state: AgentState) -> bool:
    against = state.standing.objection
    return state.stopping or (not state.standing.go and against is not None and against.rung is Rung.VACATE)


def _job_is_void(state: AgentState) -> bool:
    """The study moved on (cancelled, revoked, next round) while its job ran."""
    study = state.studies.get(state.trainer.study or "")
    return study is None or study.phase is not Phase.TRAINING


def _stop_job(state: AgentState) -> do.StopJob:
    return do.StopJob(study=state.trainer.study or "", erase=False)


def _yielded(state: AgentState, how: Condition) -> do.Tell:
    study = state.studies.get(state.trainer.study or "")
    return do.Tell(
        said=how(reason=state.standing.said),
        study=state.trainer.study,
        round=study.round if study else None,
        reason=state.standing.objection.signal if state.standing.objection else None,
    )


def _close(state: AgentState, now: Instant) -> Outcome:
    """End the trainer; its job waits for another one."""
    told: list[do.Command] = [_yielded(state, TRAINER_YIELDED)] if state.trainer.stage in _RUNNING else []
    return _absence(_count_yield(state, now), now), [do.CloseTrainer(), *told]


def _absence(state: AgentState, now: Instant) -> AgentState:
    """No trainer; the next one may come at once."""
    study = state.studies.get(state.trainer.study or "")
    if study is not None and study.phase is Phase.TRAINING:
        state = replace_study(state, advance(study, Trigger.VACATED, now))
    trainer = TrainerState(
        since=now.monotonic,
        failures=state.trainer.failures,
        retry_at=now.monotonic,
        snapshots=state.trainer.snapshots,
    )
    return msgspec.structs.replace(state, trainer=trainer)


def _failed(state: AgentState, now: Instant) -> AgentState:
    """No trainer, and it was not us who ended it: the next one waits, twice as long after each failure."""
    state = _absence(state, now)
    failures = state.trainer.failures + 1
    trainer = msgspec.structs.replace(
        state.trainer, failures=failures, retry_at=now.monotonic + _retry_s(failures)
    )
    return msgspec.structs.replace(state, trainer=trainer)


def _retry_s(failures: int) -> float:
    return min(LONGEST_RETRY_S, 2.0 ** min(failures, _DOUBLINGS))


def _count_yield(state: AgentState, now: Instant) -> AgentState:
    """Adds the time for which a running job got out of the way."""
    if state.trainer.stage not in (Stage.FROZEN, Stage.VACATING):
        return state
    record = msgspec.structs.replace(
        state.record,
        yields=state.record.yields + 1,
        yielded_s=state.record.yielded_s + now.monotonic - state.trainer.since,
    )
    return msgspec.structs.replace(state, record=record)


def _to(state: AgentState, stage: Stage, now: Instant, **changes: str | None) -> AgentState:
    trainer = msgspec.structs.replace(state.trainer, stage=stage, since=now.monotonic, **changes)
    return msgspec.structs.replace(state, trainer=trainer)
