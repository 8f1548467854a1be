# SPDX-License-Identifier: Apache-2.0
"""Scenes for the core's tests: states, events and scripts that ``play`` runs on a clock turned by hand.

Rule: everything is derived from ``examples.STUDY`` (heart-1, of which clinic-a is a site), so that a script says only
what matters to it.
"""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import msgspec

from fedagent.conditions.broker import CONNECTION_REFUSED
from fedagent.conditions.condition import Said
from fedagent.conditions.site import CPU_BUSY, MEMORY_SHORT
from fedagent.conditions.trainer import TRAINER_KILLED
from fedagent.core import agent
from fedagent.core import commands as do
from fedagent.core import events as on
from fedagent.core.approval import Approval
from fedagent.core.clock import offset_s
from fedagent.core.facts import Facts, Instant
from fedagent.core.governor import Objection, Rung, Standing
from fedagent.core.reasons import in_words
from fedagent.core.round import Phase
from fedagent.core.settings import GovernorSettings
from fedagent.core.state import AgentState
from fedagent.wire import frames
from fedagent.wire import messages as m
from fedagent.wire.manifest import Manifest, blob_digest
from fedagent.wire.study import Study, study_digest
from tests.fakes import examples

SITE: Final = "clinic-a"
STUDY: Final = examples.STUDY
NAME: Final = STUDY.name
KEY: Final = examples.KEY
POLICY: Final = GovernorSettings(resume_after_s=10.0)
NOON_ON_MONDAY: Final = 12 * 60

T = TypeVar("T")


def at(seconds: float) -> Instant:
    """A moment so many seconds after a test's beginning, on both clocks."""
    return Instant(1000.0 + seconds, 1_750_000_000.0 + seconds)


def facts(seconds: float = 0.0, /, **changes: object) -> Facts:
    """An idle machine at noon on a Monday."""
    idle = Facts(
        taken_at=at(seconds).monotonic,
        weekday=0,
        minute=NOON_ON_MONDAY,
        cpu_count=8,
        cpu_others_ratio=0.0,
        memory_available_mib=8192,
        disk_free_mib=100_000,
    )
    return msgspec.structs.replace(idle, **changes)


GO: Final = Standing(go=True, objection=None, since=at(0).wall)
NO: Final = Standing(
    go=False,
    objection=Objection(rung=Rung.PAUSE, signal="cpu", said=Said(CPU_BUSY.code, "others use the CPU")),
    since=at(0).wall,
)
FULL: Final = Standing(
    go=False,
    objection=Objection(rung=Rung.VACATE, signal="memory", said=Said(MEMORY_SHORT.code, "no memory")),
    since=at(0).wall,
)


def site(**changes: object) -> AgentState:
    """A site that has just started: connected to nothing, following nothing, without approvals."""
    fresh = AgentState(
        site=SITE, policy=POLICY, observe=False, keep_warm_s=600.0, standing=NO, clock_s=offset_s(at(0))
    )
    return msgspec.structs.replace(fresh, **changes)


# --- events ---------------------------------------------------------------------------------------------------------


def sampled(seconds: float, /, **changes: object) -> on.Sampled:
    """A look at the machine."""
    return on.Sampled(facts=facts(seconds, **changes))


def named(name: str, **changes: object) -> Study:
    """The study under another name."""
    return msgspec.structs.replace(STUDY, name=name, **changes)


def blob_of(number: int, study: Study = STUDY) -> bytes:
    """The digest of the model of this round."""
    return bytes([number % 256]) + study_digest(study)[1:]


def announcement(number: int = 1, study: Study = STUDY, **changes: object) -> m.Announcement:
    """A round of the study is open."""
    model = m.ModelReference(
        blob=blob_of(number, study), size_bytes=1240, chunk_bytes=262_144, plaintext=examples.OTHER
    )
    usual = m.Announcement(
        study=study,
        round=number,
        round_kind=m.RoundKind.TRAIN,
        model=model,
        aggregator_key=KEY,
        deadline_at=1_750_086_400.0,
    )
    return msgspec.structs.replace(usual, **changes)


def heard(message: m.AggregatorMessage) -> on.MessageArrived:
    """The aggregator said this."""
    return on.MessageArrived(message=message, payload=b"signed " + type(message).__name__.encode())


def approvals(*studies: Study, **changes: object) -> on.ApprovalsRead:
    """Root approved these."""
    return on.ApprovalsRead(approvals={study.name: approval(study, **changes) for study in studies})


def approval(study: Study = STUDY, **changes: object) -> Approval:
    """Root's word for this study."""
    given = Approval(
        study=study.name,
        digest=study_digest(study).hex(),
        dataset="cardiology",
        approved_by="root",
        approved_at="2026-03-01T12:00:00+00:00",
    )
    return msgspec.structs.replace(given, **changes)


def came(key: bytes = KEY) -> on.TrainerCame:
    """The trainer is up."""
    entry = frames.SnapshotEntry(dataset="cardiology", digest=examples.BLOB, rows=303)
    return on.TrainerCame(
        ready=frames.Ready(
            version="0.1.0",
            control="process-group",
            supervisor_pid=100,
            worker_pid=101,
            trainer_key=key,
            snapshots=(entry,),
        )
    )


def model_key(number: int = 1, study: Study = STUDY) -> on.MessageArrived:
    """The aggregator gave the model's key."""
    return heard(
        m.ModelKey(study=study.name, round=number, blob=blob_of(number, study), secret=examples.SEALED)
    )


def fetched(number: int = 1, study: Study = STUDY) -> on.ModelFetched:
    """The model is on the disk."""
    return on.ModelFetched(study=study.name, blob=blob_of(number, study))


MANIFEST: Final = Manifest(size_bytes=300_000, chunk_bytes=262_144, chunks=(examples.BLOB, examples.OTHER))
UPDATE: Final = blob_digest(MANIFEST)
EMPTY: Final = Manifest(size_bytes=0, chunk_bytes=262_144, chunks=())


def spooled(number: int = 1, name: str = NAME, manifest: Manifest = MANIFEST) -> on.UpdateSpooled:
    """The update is in the spool."""
    sealed = frames.JobSealed(
        study=name,
        round=number,
        chunk_bytes=262_144,
        secret=examples.SEALED,
        rows=242,
        snapshot=examples.BLOB,
        metrics=examples.METRICS,
        norm=1.25,
    )
    return on.UpdateSpooled(sealed=sealed, manifest=manifest)


def failed(number: int = 1, name: str = NAME) -> on.TrainerSaid:
    """The job came to nothing."""
    return on.TrainerSaid(
        frame=frames.JobFailed(study=name, round=number, reason=m.Reason.NOT_FINITE, text="the loss is NaN")
    )


def refused(number: int = 1, name: str = NAME) -> on.TrainerSaid:
    """The supervisor would not train it."""
    return on.TrainerSaid(
        frame=frames.JobRefused(study=name, round=number, reason=m.Reason.NO_DATASET, text="no snapshot")
    )


def progressed(number: int = 1, name: str = NAME) -> on.TrainerSaid:
    """So far is the job."""
    return on.TrainerSaid(
        frame=frames.JobProgress(study=name, round=number, step=10, steps=50, checkpoint_step=8, loss=0.25)
    )


def receipt(number: int = 1, blob: bytes = UPDATE) -> on.MessageArrived:
    """The aggregator has the update."""
    return heard(m.Receipt(study=NAME, round=number, blob=blob))


def grant(number: int = 1, blob: bytes = UPDATE) -> on.MessageArrived:
    """The aggregator wants chunks of the update."""
    return heard(m.Grant(study=NAME, round=number, blob=blob, chunks=(0, 1), stored=0))


def decline(reason: m.Reason) -> m.Decline:
    """What the aggregator is told: our words for the reason, and nobody else's."""
    return m.Decline(study=NAME, round=1, reason=reason, text=in_words(reason).text)


def refusal(number: int = 1, text: str = "") -> on.MessageArrived:
    """The aggregator does not want our part."""
    return heard(m.Refusal(study=NAME, round=number, reason=m.Reason.ROUND_CLOSED, text=text))


def ending(number: int = 2) -> on.MessageArrived:
    """The study is over."""
    return heard(announcement(number, round_kind=m.RoundKind.ENDED))


CHECKPOINTED: Final = on.TrainerSaid(frame=frames.CheckpointDone(step=8))
LOST: Final = on.TrainerLost(reason=TRAINER_KILLED(signal="SIGKILL"))
OFFLINE: Final = on.Disconnected(reason=CONNECTION_REFUSED(where="broker:8883"))


# --- scripts --------------------------------------------------------------------------------------------------------

Step = agent.AnyEvent | tuple[float, agent.AnyEvent]
"""An event, where it matters with the second in which it happens."""


def play(
    state: AgentState, script: Sequence[Step], *, expect: Sequence[str] | None = None
) -> tuple[AgentState, list[do.Command]]:
    """The state after the script, and every command that it led to.

    Args:
        script: an event without a time happens at the same moment as the one before.
        expect: commands in the words of ``words``, in order, talk left out.
    """
    now, done = 0.0, []
    for each in script:
        now, event = each if isinstance(each, tuple) else (now, each)
        state, more = agent.step(state, event, at(now))
        done += more
    if expect is not None:
        performed = [words(each) for each in done if not isinstance(each, do.Tell)]
        assert performed == list(expect), f"performed {performed}, expected {list(expect)}"
    return state, done


def words(command: do.Command) -> str:
    """The command in a short form, with what a script should see of it."""
    match command:
        case do.Send(message=message):
            return f"send {message.__struct_config__.tag}"
        case do.Post(key=key):
            return f"post {key}"
        case do.Strike(key=key):
            return f"strike {key}"
        case do.StopJob(study=study, erase=erase):
            return f"stop {study}" + (" and erase" if erase else "")
        case do.GiveJob(job=job):
            return f"give {job.study}"
        case do.Fetch(study=study) | do.FollowStudy(study=study) | do.Grant(study=study):
            return f"{_verb(command)} {study}"
        case _:
            return _verb(command)


def _verb(command: do.Command) -> str:
    """``StartTrainer``: start trainer."""
    name = type(command).__name__
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).strip()


def only(kind: type[T], done: Sequence[do.Command]) -> list[T]:
    """The commands of this kind."""
    return [each for each in done if isinstance(each, kind)]


def told(done: Sequence[do.Command]) -> list[str]:
    """What the journal got."""
    return [each.said.text for each in only(do.Tell, done)]


# --- the usual way of a round ----------------------------------------------------------------------------------------


def joined() -> AgentState:
    """Approved and joined with the trainer's key, while others use the machine; not connected."""
    state, _ = play(
        site(record=msgspec.structs.replace(site().record, trainer_key=KEY)),
        [approvals(STUDY), heard(announcement())],
    )
    return state


def ready() -> AgentState:
    """The model is here; others use the machine."""
    state, _ = play(joined(), [model_key(), fetched()])
    return state


def training() -> AgentState:
    """In the first round's job."""
    state, _ = play(msgspec.structs.replace(ready(), standing=GO), [on.Woke(), came(), progressed()])
    return state


def sending() -> AgentState:
    """The first round's update is in the spool, the trainer warm."""
    state, _ = play(training(), [spooled()])
    return state


def known() -> AgentState:
    """The trainer's key is known."""
    return site(record=msgspec.structs.replace(site().record, trainer_key=KEY))


def waiting() -> AgentState:
    """A study is announced and not approved."""
    state, _ = play(known(), [heard(announcement())])
    return state


def fetching() -> AgentState:
    """The model is on its way."""
    state, _ = play(joined(), [model_key()])
    return state


def delivered() -> AgentState:
    """The aggregator has the first round's update."""
    state, _ = play(sending(), [receipt()])
    return state


def declined() -> AgentState:
    """The first round was declined."""
    state, _ = play(training(), [failed()])
    return state


def ended() -> AgentState:
    """The study ended after the first round."""
    state, _ = play(sending(), [ending()])
    return state


BY_PHASE: Final[dict[Phase, Callable[[], AgentState]]] = {
    Phase.UNAPPROVED: waiting,
    Phase.JOINING: joined,
    Phase.FETCHING: fetching,
    Phase.READY: ready,
    Phase.TRAINING: training,
    Phase.SPOOLED: sending,
    Phase.DELIVERED: delivered,
    Phase.DECLINED: declined,
    Phase.ENDED: ended,
}
