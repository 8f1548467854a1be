# SPDX-License-Identifier: Apache-2.0
"""What people ask about studies and models, read from the store: status and model list.

Rule: every wait is shown with its reason.
"""

import msgspec

from fedagent.aggregator.metrics import best_model
from fedagent.aggregator.rounds import Part, Round, left_out
from fedagent.aggregator.store import Store, StudyRecord
from fedagent.aggregator.tables import PartPhase, StudyPhase
from fedagent.wire.messages import MetricValue
from fedagent.wire.study import study_digest


class PartStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One site's part in the open round."""

    site: str
    phase: str
    text: str


class StudyStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Where a study is; times in Unix seconds."""

    name: str
    phase: str
    digest: str
    round: int | None
    round_kind: str | None
    rounds: int
    round_phase: str | None
    deadline_at: float | None
    quorum: int
    reason: str
    parts: tuple[PartStatus, ...]
    left_out: tuple[str, ...]
    """The sites without which the round before was closed."""
    metrics: dict[str, float]
    best_model: int | None


class ModelStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One global model; ``metrics`` were measured in the round after it."""

    study: str
    number: int
    plaintext: str
    made_at: float
    best: bool
    metrics: dict[str, float]


def study_status(store: Store, record: StudyRecord, lack: str = "") -> StudyStatus:
    """One study's status.

    Args:
        lack: why no update is taken and no model made now, empty where there is room on the disk.
    """
    study = record.study
    round_ = store.current_round(study.name)
    before = store.round(study.name, round_.number - 1) if round_ else None
    results = store.results(study.name)
    return StudyStatus(
        name=study.name,
        phase=record.phase.value,
        digest=study_digest(study).hex(),
        round=round_.number if round_ else None,
        round_kind=round_.kind.value if round_ else None,
        rounds=study.federation.rounds,
        round_phase=round_.phase.value if round_ else None,
        deadline_at=round_.deadline_at if round_ else None,
        quorum=study.federation.quorum,
        reason=lack if lack and record.phase is StudyPhase.RUNNING else _reason(record, round_),
        parts=_parts(store, round_) if round_ else (),
        left_out=left_out(before) if before else (),
        metrics=_values(results[-1].combined) if results else {},
        best_model=best_model(results, study.federation.best_by),
    )


def _reason(record: StudyRecord, round_: Round | None) -> str:
    if record.reason:
        return record.reason
    match record.phase:
        case StudyPhase.CREATED:
            return f"not started: fedaggregator study start {record.study.name}"
        case StudyPhase.RUNNING if round_ is None:
            return "the initial model is being made"
        case StudyPhase.RUNNING if round_ is not None:
            return round_.reason or _waits(round_)
        case _:
            return ""


def _waits(round_: Round) -> str:
    waiting = [
        part.site
        for part in round_.parts
        if part.phase in (PartPhase.INVITED, PartPhase.JOINED, PartPhase.OFFERED)
    ]
    stored = sum(part.phase is PartPhase.STORED for part in round_.parts)
    return (
        f"{stored} updates are here, {round_.quorum} are needed; waits for {', '.join(waiting) or 'nobody'}"
    )


def _parts(store: Store, round_: Round) -> tuple[PartStatus, ...]:
    progress = store.progress(round_.study, round_.number)
    return tuple(
        PartStatus(site=part.site, phase=part.phase.value, text=_text(part, progress))
        for part in round_.parts
    )


def _text(part: Part, progress: dict[str, str]) -> str:
    if part.reason is not None:
        return f"{part.reason}: {part.text}" if part.text else part.reason.value
    return progress.get(part.site, "") if part.phase is PartPhase.JOINED else ""


def _values(metrics: tuple[MetricValue, ...]) -> dict[str, float]:
    return {metric.name: metric.value for metric in metrics}


# --- models -------------------------------------------------------------------------------------------------------


def model_statuses(store: Store, record: StudyRecord) -> tuple[ModelStatus, ...]:
    """The study's models by number."""
    results = store.results(record.study.name)
    measured = {result.round - 1: _values(result.combined) for result in results}
    best = best_model(results, record.study.federation.best_by)
    return tuple(
        ModelStatus(
            study=model.study,
            number=model.number,
            plaintext=model.reference.plaintext.hex(),
            made_at=model.made_at,
            best=model.number == best,
            metrics=measured.get(model.number, {}),
        )
        for model in store.models(record.study.name)
    )
