# SPDX-License-Identifier: Apache-2.0
"""What ``fedagent status`` and ``why`` show: a view of the agent's state, made for people and for ``--json``.

Rule: every time is in Unix seconds by this machine's clock, and every wait says for what.
"""

from typing import assert_never

import msgspec

from fedagent import VERSION
from fedagent.core.facts import Instant
from fedagent.core.state import AgentState, LastError, Stage, StudyState
from fedagent.site.waits import asks_at, retry_at, silent, verdict_until, wait_of, wall
from fedagent.transport.outage import LinkStatus
from fedagent.wire.messages import MetricValue, RoundKind
from fedagent.wire.study import study_digest


class BrokerView(msgspec.Struct, frozen=True, kw_only=True):
    """The connection to the broker, and whether the aggregator behind it answers.

    Attributes:
        reason: why there is no connection; empty where there is one, or was no attempt yet.
        retry_at: of the next attempt to connect.
        silent_since: since when the aggregator owes an answer; None where it does not, or not for long.
        asks_at: when this site asks it again.
        bytes_up: payloads published since the daemon started; ``bytes_down`` received.
    """

    connected: bool
    since: float
    reason: str
    retry_at: float | None
    silent_since: float | None
    asks_at: float | None
    bytes_up: int
    bytes_down: int


class VerdictView(msgspec.Struct, frozen=True, kw_only=True):
    """May the site train now, and why not; ``until`` where it is known when that changes by itself."""

    go: bool
    text: str
    since: float
    until: float | None = None
    signal: str | None = None
    value: float | None = None
    threshold: float | None = None


class TrainerView(msgspec.Struct, frozen=True, kw_only=True):
    """Where the trainer stands; after ``failures`` in a row it is started again at ``retry_at``."""

    stage: str
    since: float
    study: str | None
    step: int
    steps: int
    loss: float | None
    failures: int = 0
    retry_at: float | None = None


class StorageView(msgspec.Struct, frozen=True, kw_only=True):
    """What waits for room on the disk, and since when."""

    text: str
    since: float


class StudyView(msgspec.Struct, frozen=True, kw_only=True):
    """One study at this site; ``place`` is the round in words, empty once the study has ended.

    Attributes:
        waits_for: what completes "waits for", empty once the study has ended.
        until: when that ends by itself; ``again_at`` when this site tries again.
        deadline_at: of the round, for the sites' answers.
    """

    study: str
    round: int
    rounds: int
    place: str
    phase: str
    since: float
    waits_for: str
    until: float | None
    again_at: float | None
    deadline_at: float | None
    last_error: LastError | None
    dataset: str
    rows: int
    digest: str
    metrics: tuple[MetricValue, ...]


class SiteStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer.

    Attributes:
        at: when it was given.
        storage: None where nothing waits for room.
        cpu_others_ratio: at the last sample.
        last_error: at this site, in a study or not.
    """

    at: float
    site: str
    version: str
    mode: str
    broker: BrokerView
    verdict: VerdictView
    cpu_others_ratio: float | None
    memory_available_mib: int | None
    trainer: TrainerView
    studies: tuple[StudyView, ...]
    yields: int
    yielded_s: float
    last_error: LastError | None
    storage: StorageView | None = None


def view(state: AgentState, link: LinkStatus, now: Instant, *, bytes_up: int, bytes_down: int) -> SiteStatus:
    """The state in the words of the status."""
    trainer = state.trainer
    under_way = now.monotonic - trainer.since if trainer.stage in (Stage.FROZEN, Stage.VACATING) else 0.0
    silent_since = state.silent_since if link.connected and silent(state, now) else None
    return SiteStatus(
        at=now.wall,
        site=state.site,
        version=VERSION,
        mode="observe" if state.observe else "train",
        broker=BrokerView(
            connected=link.connected,
            since=link.since,
            reason=link.reason,
            retry_at=retry_at(link, now),
            silent_since=None if silent_since is None else wall(silent_since, now),
            asks_at=None if silent_since is None else asks_at(state, now),
            bytes_up=bytes_up,
            bytes_down=bytes_down,
        ),
        verdict=_verdict(state, now),
        cpu_others_ratio=state.facts.cpu_others_ratio if state.facts else None,
        memory_available_mib=state.facts.memory_available_mib if state.facts else None,
        trainer=_trainer(state, now),
        studies=tuple(_study(state, each, link, now) for _, each in sorted(state.studies.items())),
        yields=state.record.yields,
        yielded_s=round(state.record.yielded_s + under_way, 3),
        last_error=state.record.error,
    )


def _verdict(state: AgentState, now: Instant) -> VerdictView:
    standing, against = state.standing, state.standing.objection
    return VerdictView(
        go=standing.go,
        text=standing.said.text,
        since=standing.since,
        until=verdict_until(state, now),
        signal=against.signal if against else None,
        value=against.value if against else None,
        threshold=against.threshold if against else None,
    )


def _trainer(state: AgentState, now: Instant) -> TrainerView:
    trainer, progress = state.trainer, state.trainer.progress
    absent = trainer.stage is Stage.ABSENT
    return TrainerView(
        stage=trainer.stage.value,
        since=wall(trainer.since, now),
        study=trainer.study,
        step=progress.step if progress else 0,
        steps=progress.steps if progress else 0,
        loss=progress.loss if progress else None,
        failures=trainer.failures,
        retry_at=wall(trainer.retry_at, now) if absent and trainer.failures else None,
    )


def _study(state: AgentState, study: StudyState, link: LinkStatus, now: Instant) -> StudyView:
    wait = wait_of(state, study, link, now)
    ended = study.announcement.round_kind is RoundKind.ENDED
    return StudyView(
        study=study.name,
        round=study.round,
        rounds=study.announcement.study.federation.rounds,
        place=_place(study),
        phase=study.phase.value,
        since=study.since,
        waits_for=wait.what,
        until=wait.until,
        again_at=wait.again_at,
        deadline_at=None if ended else study.announcement.deadline_at,
        last_error=study.error,
        dataset=study.dataset,
        rows=study.rows,
        digest=study_digest(study.announcement.study).hex(),
        metrics=study.metrics,
    )


def _place(study: StudyState) -> str:
    match study.announcement.round_kind:
        case RoundKind.TRAIN:
            return f"round {study.round} of {study.announcement.study.federation.rounds}"
        case RoundKind.EVALUATE:
            return "evaluation of the final model"
        case RoundKind.ENDED:
            return ""
        case _:
            assert_never(study.announcement.round_kind)
