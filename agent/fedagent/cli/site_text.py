# SPDX-License-Identifier: Apache-2.0
"""A site's status in lines for a person.

Rule: each line says since when, and what is missing says what brings it back and when.
"""

from collections.abc import Mapping
from typing import Final

from fedagent.cli.layout import Row
from fedagent.cli.output import size
from fedagent.cli.times import ago, clock, due, since, span
from fedagent.core.state import LastError, Stage
from fedagent.site.status import BrokerView, SiteStatus, StudyView, TrainerView, VerdictView

_STAGES: Final[Mapping[str, str]] = {
    Stage.ABSENT: "not running",
    Stage.STARTING: "starting",
    Stage.IDLE: "idle",
    Stage.BUSY: "at work",
    Stage.FROZEN: "paused",
    Stage.VACATING: "saving its work, to end",
}


def site_rows(status: SiteStatus) -> list[Row]:
    """The whole status."""
    now = status.at
    observes = ", observes only: it never trains" if status.mode == "observe" else ""
    rows = [
        Row("site", f"{status.site} (fedagent {status.version}{observes})"),
        *_broker(status.broker, now),
        Row("training", verdict_text(status.verdict, now)),
        Row("trainer", _trainer(status.trainer, now)),
        Row("machine", _machine(status)),
        Row("yielded", f"to the clinic {_times(status.yields)}, {span(status.yielded_s)} in all"),
    ]
    if status.storage is not None:
        rows.append(
            Row("storage", f"waits for room: {status.storage.text} ({since(status.storage.since, now)})")
        )
    if status.last_error and not _is_shown(status.last_error, status):
        rows.append(error_row(status.last_error, now))
    if not status.studies:
        rows.append(Row("studies", _no_studies(status)))
    return rows + [row for study in status.studies for row in study_rows(study, now)]


def _no_studies(status: SiteStatus) -> str:
    if status.storage is not None:
        return "none known: what the aggregator says of one waits for room"
    if not status.broker.connected:
        return "none known: they come from the broker"
    return "none: the aggregator has announced none for this site yet"


def _is_shown(error: LastError, status: SiteStatus) -> bool:
    """Whether a study, or the connection to the broker, says it already."""
    return error.text == status.broker.reason or error in [each.last_error for each in status.studies]


def study_rows(study: StudyView, now: float) -> list[Row]:
    """One study."""
    place = f", {study.place}" if study.place else ""
    rows = [
        Row("", ""),
        Row("study", f"{study.study}{place}"),
        Row("state", f"{study.phase} {since(study.since, now)}", 2),
    ]
    if study.waits_for:
        rows.append(Row("waits for", waits_text(study, now), 2))
    if study.deadline_at is not None:
        rows.append(Row("deadline", f"of this round {due(study.deadline_at, now)}", 2))
    return [*rows, error_row(study.last_error, now, 2)] if study.last_error else rows


def site_facts(status: SiteStatus) -> tuple[object, ...]:
    """What does not change by itself: neither counters and percentages nor times that are reckoned anew each time."""
    broker, verdict, trainer = status.broker, status.verdict, status.trainer
    return (
        status.version, status.mode, status.last_error, status.yields, status.storage,
        broker.connected, broker.since, broker.reason, broker.silent_since is None,
        verdict.go, verdict.since, verdict.signal, trainer.stage, trainer.study, trainer.failures,
        *((each.study, each.place, each.phase, each.since, each.last_error, each.deadline_at) for each in status.studies),
    )  # fmt: skip


def verdict_text(verdict: VerdictView, now: float) -> str:
    """May this site train, since when, and until when not."""
    if verdict.go:
        return f"allowed {since(verdict.since, now)}"
    end = (
        f"; until {clock(verdict.until, now)}, {span(verdict.until - now)} from now" if verdict.until else ""
    )
    return f"not allowed now: {verdict.text} ({since(verdict.since, now)}){end}"


def waits_text(study: StudyView, now: float) -> str:
    """What the study waits for, and when that ends or is tried again, where it is not the deadline."""
    if study.again_at is not None:
        return f"{study.waits_for}; tries again {due(study.again_at, now)}"
    if study.until is None or study.until == study.deadline_at:
        return study.waits_for
    return f"{study.waits_for}; until {clock(study.until, now)}, {span(study.until - now)} from now"


def error_row(error: LastError, now: float, indent: int = 0) -> Row:
    """What went wrong last."""
    code = f" [{error.code}]" if error.code else ""
    return Row("error", f"the last, {ago(error.at, now)}: {error.text}{code}", indent)


def _broker(broker: BrokerView, now: float) -> list[Row]:
    if not broker.connected:
        again = (
            f"; tries again {due(broker.retry_at, now)}" if broker.retry_at is not None else "; trying now"
        )
        row = Row("broker", f"not connected {since(broker.since, now)}{again}")
        return [row, Row("", broker.reason)] if broker.reason else [row]
    traffic = f"{size(broker.bytes_up)} sent, {size(broker.bytes_down)} received"
    row = Row("broker", f"connected {since(broker.since, now)}; {traffic}")
    if broker.silent_since is None:
        return [row]
    again = f"; asks again {due(broker.asks_at, now)}" if broker.asks_at is not None else ""
    return [row, Row("aggregator", f"does not answer {since(broker.silent_since, now)}{again}")]


def _trainer(trainer: TrainerView, now: float) -> str:
    text = _STAGES[trainer.stage]
    if trainer.study:
        step = f", step {trainer.step} of {trainer.steps}" if trainer.steps else ""
        text += f" on {trainer.study}{step}"
    text += f" {since(trainer.since, now)}"
    if trainer.retry_at is not None:
        text += f"; failed {_times(trainer.failures)}, is started again {due(trainer.retry_at, now)}"
    return text


def _machine(status: SiteStatus) -> str:
    ratio, available = status.cpu_others_ratio, status.memory_available_mib
    if ratio is None and available is None:
        return "not looked at yet"
    used = "an unknown share" if ratio is None else f"{ratio:.0%}"
    memory = "unknown memory" if available is None else f"{available} MiB of memory"
    return f"others use {used} of the CPU, {memory} available"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
