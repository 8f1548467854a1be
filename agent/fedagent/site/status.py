# SPDX-License-Identifier: Apache-2.0
"""What ``fedagent status`` and ``why`` show: a view of the agent's state, made for people and for ``--json``."""

from typing import assert_never

import msgspec

from fedagent import VERSION
from fedagent.core.state import AgentState, Stage, StudyState
from fedagent.wire.messages import MetricValue, RoundKind
from fedagent.wire.study import study_digest


class VerdictView(msgspec.Struct, frozen=True, kw_only=True):
    """May the site train now, and why not."""

    go: bool
    text: str
    since: float
    signal: str | None = None
    value: float | None = None
    threshold: float | None = None


class TrainerView(msgspec.Struct, frozen=True, kw_only=True):
    """Where the trainer stands."""

    stage: str
    study: str | None
    step: int
    steps: int
    loss: float | None


class StorageView(msgspec.Struct, frozen=True, kw_only=True):
    """What waits for room on the disk, and since when."""

    text: str
    since: float


class StudyView(msgspec.Struct, frozen=True, kw_only=True):
    """One study at this site; ``place`` is the round in words, empty once the study has ended."""

    study: str
    round: int
    rounds: int
    place: str
    phase: str
    since: float
    note: str
    dataset: str
    rows: int
    digest: str
    metrics: tuple[MetricValue, ...]


class SiteStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer.

    Attributes:
        bytes_up: payloads published since the daemon started; ``bytes_down`` received.
        storage: None where nothing waits for room.
        cpu_others_ratio: at the last sample.
    """

    site: str
    version: str
    mode: str
    link: str
    connected: bool
    verdict: VerdictView
    cpu_others_ratio: float | None
    memory_available_mib: int | None
    trainer: TrainerView
    studies: tuple[StudyView, ...]
    yields: int
    yielded_s: float
    bytes_up: int
    bytes_down: int
    storage: StorageView | None = None


def view(state: AgentState, *, bytes_up: int, bytes_down: int, now: float) -> SiteStatus:
    """The state in the words of the status; ``now`` is monotonic."""
    progress, trainer, against = state.trainer.progress, state.trainer, state.standing.objection
    under_way = now - trainer.since if trainer.stage in (Stage.FROZEN, Stage.VACATING) else 0.0
    return SiteStatus(
        site=state.site,
        version=VERSION,
        mode="observe" if state.observe else "train",
        link=state.link,
        connected=state.connected,
        verdict=VerdictView(
            go=state.standing.go,
            text=state.standing.text,
            since=state.standing.since,
            signal=against.signal if against else None,
            value=against.value if against else None,
            threshold=against.threshold if against else None,
        ),
        cpu_others_ratio=state.facts.cpu_others_ratio if state.facts else None,
        memory_available_mib=state.facts.memory_available_mib if state.facts else None,
        trainer=TrainerView(
            stage=trainer.stage.value,
            study=trainer.study,
            step=progress.step if progress else 0,
            steps=progress.steps if progress else 0,
            loss=progress.loss if progress else None,
        ),
        studies=tuple(_study(each) for _, each in sorted(state.studies.items())),
        yields=state.record.yields,
        yielded_s=round(state.record.yielded_s + under_way, 3),
        bytes_up=bytes_up,
        bytes_down=bytes_down,
    )


def _study(study: StudyState) -> StudyView:
    return StudyView(
        study=study.name,
        round=study.round,
        rounds=study.announcement.study.federation.rounds,
        place=_place(study),
        phase=study.phase.value,
        since=study.since,
        note=study.note,
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
