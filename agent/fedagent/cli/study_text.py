# SPDX-License-Identifier: Apache-2.0
"""The studies' status at the coordinating centre in lines for a person.

Rule: as ``site_text``: each line says since when, and what is missing says what brings it back and when.
"""

from fedagent.aggregator.part_report import ErrorView, PartStatus
from fedagent.aggregator.reports import DaemonView, Report, StudyStatus
from fedagent.aggregator.tables import PartPhase
from fedagent.cli.layout import Row
from fedagent.cli.times import ago, clock, due, since, span
from fedagent.wire.messages import RoundKind


def report_rows(report: Report) -> list[Row]:
    """The whole report."""
    rows = _daemon(report.aggregator, report.at)
    if not report.studies:
        rows.append(Row("studies", "none yet: fedaggregator study create FILE"))
    return rows + [row for study in report.studies for row in _study(study, report.at)]


def report_facts(report: Report) -> tuple[object, ...]:
    """What does not change by itself: without the times that are reckoned anew each time, or pass with every message."""
    broker = report.aggregator.broker
    return (
        report.aggregator.running,
        (broker.connected, broker.since, broker.reason) if broker else None,
        *((s.name, s.phase, s.since, s.round, s.round_phase, s.waits_for, s.deadline_at, s.reason) for s in report.studies),
        *((p.site, p.phase, p.since, p.connected, bool(p.verdict), p.last_error) for s in report.studies for p in s.parts),
    )  # fmt: skip


def _daemon(daemon: DaemonView, now: float) -> list[Row]:
    broker = daemon.broker
    if broker is None:
        code = f" [{daemon.error.code}]" if daemon.error and daemon.error.code else ""
        text = daemon.error.text if daemon.error else ""
        return [
            Row("aggregator", f"{text}{code}"),
            Row("", "what follows is what it last wrote down"),
        ]
    if broker.connected:
        return [Row("aggregator", f"running; connected to the broker {since(broker.since, now)}")]
    again = f"tries again {due(broker.retry_at, now)}" if broker.retry_at is not None else "trying now"
    row = Row("aggregator", f"running; not connected to the broker {since(broker.since, now)}; {again}")
    return [row, Row("", broker.reason)] if broker.reason else [row]


def _study(study: StudyStatus, now: float) -> list[Row]:
    rows = [
        Row("", ""),
        Row("study", study.name + (f", {_round(study)}" if study.round else "")),
        Row("state", f"{study.phase} {since(study.since, now)}{_round_state(study, now)}", 2),
    ]
    if study.waits_for:
        rows.append(Row("waits for", study.waits_for, 2))
    if study.reason:
        rows.append(Row("because", study.reason, 2))
    if study.deadline_at is not None:
        rows.append(Row("deadline", f"of this round {due(study.deadline_at, now)}", 2))
    if study.left_out and study.round:
        rows.append(Row("before", f"round {study.round - 1} closed without {', '.join(study.left_out)}", 2))
    if study.metrics:
        values = ", ".join(f"{name} {value:.4f}" for name, value in study.metrics.items())
        rows.append(Row("metrics", f"of the last round: {values}", 2))
    return rows + [row for part in study.parts for row in _part(part, now)]


def _round(study: StudyStatus) -> str:
    if study.round_kind == RoundKind.EVALUATE:
        return "evaluation of the final model"
    return f"round {study.round} of {study.rounds}"


def _round_state(study: StudyStatus, now: float) -> str:
    if study.round_since is None or study.phase != "running":
        return ""
    return f"; this round is {study.round_phase} {since(study.round_since, now)}"


def _part(part: PartStatus, now: float) -> list[Row]:
    doing = f" ({part.text})" if part.text else ""
    rows = [Row(part.site, f"{part.phase}{doing} {since(part.since, now)}; {_presence(part, now)}", 2)]
    if part.waits_for and part.phase != PartPhase.STORED:
        rows.append(Row("", f"waits for {part.waits_for}"))
    if part.last_error is not None:
        rows.append(Row("", _error(part.last_error, now)))
    return rows


def _presence(part: PartStatus, now: float) -> str:
    if part.connected is None or part.connected_since is None or part.heard_at is None:
        return "never heard of"
    if not part.connected:
        return f"not connected {since(part.connected_since, now)}"
    return f"last heard {span(now - part.heard_at)} ago, at {clock(part.heard_at, now)}"


def _error(error: ErrorView, now: float) -> str:
    return (
        f"last error, {ago(error.at, now)}: {error.text} [{error.code}]"
        if error.code
        else f"last error, {ago(error.at, now)}: {error.text}"
    )
