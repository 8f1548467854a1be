# SPDX-License-Identifier: Apache-2.0
"""What people ask about studies and models, read from the store: status and model list.

Rule: every wait is shown with its reason, and since when it lasts.
"""

import msgspec

from fedagent.aggregator import roster
from fedagent.aggregator.control import BrokerView
from fedagent.aggregator.metrics import best_model
from fedagent.aggregator.part_report import ErrorView, PartStatus, part_status
from fedagent.aggregator.rounds import ACTIVE, Part, Round, left_out
from fedagent.aggregator.store import Store, StudyRecord
from fedagent.aggregator.tables import PartPhase, RoundPhase, StudyPhase
from fedagent.core.reasons import in_words
from fedagent.journal import coded
from fedagent.wire.messages import MetricValue
from fedagent.wire.study import study_digest


class StudyStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Where a study is; times in Unix seconds.

    Attributes:
        since: when the study got into its phase, ``round_since`` its newest round into its own.
        waits_for: what completes "waits for"; empty where the study is over.
        deadline_at: of the round that is open.
        reason: why the round is still open, or why the study failed or was stopped.
        left_out: the sites without which the round before was closed.
    """

    name: str
    phase: str
    since: float
    digest: str
    round: int | None
    round_kind: str | None
    rounds: int
    round_phase: str | None
    round_since: float | None
    waits_for: str
    deadline_at: float | None
    quorum: int
    reason: str
    parts: tuple[PartStatus, ...]
    left_out: tuple[str, ...]
    metrics: dict[str, float]
    best_model: int | None


class DaemonView(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the aggregator runs; if not, ``error`` says why nobody answered."""

    running: bool
    broker: BrokerView | None = None
    error: ErrorView | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What ``fedaggregator study status`` shows, at this time in Unix seconds."""

    at: float
    aggregator: DaemonView
    studies: tuple[StudyStatus, ...]


class ModelStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One global model; ``metrics`` were measured in the round after it."""

    study: str
    number: int
    plaintext: str
    made_at: float
    best: bool
    metrics: dict[str, float]


def study_status(
    store: Store, record: StudyRecord, now: float, *, lack: str = "", deaf: str = ""
) -> StudyStatus:
    """One study's status.

    Args:
        now: Unix seconds.
        deaf: what it takes that we hear the sites again; empty where we do.
        lack: why no update is taken and no model made now, empty where there is room on the disk.
    """
    study = record.study
    round_ = store.current_round(study.name)
    before = store.round(study.name, round_.number - 1) if round_ else None
    results = store.results(study.name)
    return StudyStatus(
        name=study.name,
        phase=record.phase.value,
        since=record.since,
        digest=study_digest(study).hex(),
        round=round_.number if round_ else None,
        round_kind=round_.kind.value if round_ else None,
        rounds=study.federation.rounds,
        round_phase=round_.phase.value if round_ else None,
        round_since=round_.since if round_ else None,
        waits_for=_waits(record, round_, deaf or (f"room on the disk: {lack}" if lack else "")),
        deadline_at=round_.deadline_at if round_ and round_.phase in ACTIVE else None,
        quorum=study.federation.quorum,
        reason=coded(said) if (said := record.reason or (round_.reason if round_ else None)) else "",
        parts=_parts(store, round_, None if deaf else now) if round_ else (),
        left_out=left_out(before) if before else (),
        metrics=_values(results[-1].combined) if results else {},
        best_model=best_model(results, study.federation.best_by),
    )


def _waits(record: StudyRecord, round_: Round | None, lacks: str) -> str:
    if record.phase is StudyPhase.CREATED:
        return f"its start: fedaggregator study start {record.study.name}"
    if record.phase is not StudyPhase.RUNNING:
        return ""
    if lacks:
        return lacks
    if round_ is None:
        return "the initial model to be made"
    if round_.phase is RoundPhase.CLOSING:
        return "the updates to be combined"
    return _missing(round_)


def _missing(round_: Round) -> str:
    waiting = [
        part.site
        for part in round_.parts
        if part.phase in (PartPhase.INVITED, PartPhase.JOINED, PartPhase.OFFERED)
    ]
    stored = sum(part.phase is PartPhase.STORED for part in round_.parts)
    whom = (
        ", ".join(waiting)
        or "a site that takes part after all: too few do, and at its deadline the round is extended"
    )
    return f"{whom}; {stored} of at least {round_.quorum} updates are here"


def _parts(store: Store, round_: Round, now: float | None) -> tuple[PartStatus, ...]:
    progress = store.progress(round_.study, round_.number)
    sites = {each.name: each for each in roster.records(store.database.connection)}
    errors = store.part_errors(round_.study)
    return tuple(
        part_status(
            round_,
            part,
            sites.get(part.site),
            progress=progress.get(part.site, ""),
            error=_error(errors.get(part.site)),
            now=now,
        )
        for part in round_.parts
    )


def _error(part: Part | None) -> ErrorView | None:
    if part is None or part.reason is None:
        return None
    said = in_words(part.reason, part.text)
    return ErrorView(code=said.code, text=said.text, at=part.since)


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
