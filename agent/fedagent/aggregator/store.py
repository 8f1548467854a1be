# SPDX-License-Identifier: Apache-2.0
"""All that the aggregator knows, in one SQLite database; with ``roster`` the only module of it that knows SQL.

Rule: functions that write take the connection of the caller's transaction, so that what is decided together is durable
together. Readers (the commands) may open the same file while the daemon runs: WAL.
"""

from collections.abc import Iterable
from pathlib import Path
from sqlite3 import Connection
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from fedagent.aggregator.metrics import RoundResult, SiteResult, round_result
from fedagent.aggregator.rounds import Part, Round
from fedagent.aggregator.schema import SCHEMA, STEPS
from fedagent.aggregator.tables import PartPhase, RoundPhase, StudyPhase
from fedagent.conditions.aggregator import NO_SUCH_STUDY
from fedagent.conditions.condition import Said
from fedagent.conditions.table import TABLE
from fedagent.errors import UsageError
from fedagent.storage.database import Database
from fedagent.storage.failpoints import Failpoint
from fedagent.wire.codec import decode, encode
from fedagent.wire.manifest import Manifest
from fedagent.wire.messages import MetricValue, ModelReference, Reason, RoundKind
from fedagent.wire.study import Study
from fedagent.wire.topics import OFFER_BYTES

_METRICS: Final = tuple[MetricValue, ...]


class StudyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A study and where it is, since when; ``reason`` says why it failed or was stopped."""

    study: Study
    phase: StudyPhase
    created_at: float
    since: float
    reason: Said | None = None


class ModelRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One global model: number 0 is the initial one, number r the one after round r."""

    study: str
    number: int
    reference: ModelReference
    manifest: Manifest
    key: bytes
    made_at: float


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """An update that is on its way or waits to be folded."""

    site: str
    blob: bytes
    manifest: Manifest
    key: bytes
    rows: int


class _Metrics(msgspec.Struct, frozen=True):
    values: Annotated[tuple[MetricValue, ...], Meta(max_length=32)]


class Store:
    """The open database."""

    def __init__(self, path: Path) -> None:
        """Opens or makes it.

        Raises:
            StorageError: damaged, not writable, or of a newer version.
        """
        self.database = Database(
            path,
            SCHEMA,
            steps=STEPS,
            before_commit=Failpoint.AGGREGATOR_BEFORE_COMMIT,
            after_commit=Failpoint.AGGREGATOR_AFTER_COMMIT,
        )
        self._connection = self.database.connection

    def close(self) -> None:
        """Closes the file."""
        self.database.close()

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        return self._connection.execute(query, values).fetchall()

    # --- studies --------------------------------------------------------------------------------------------------

    def studies(self) -> tuple[StudyRecord, ...]:
        """All of them, in the order of their names."""
        rows = self._rows("SELECT definition, phase, created_at, since, reason FROM study ORDER BY name")
        return tuple(_study(*row) for row in rows)

    def study(self, name: str) -> StudyRecord:
        """The study of that name.

        Raises:
            UsageError: there is none.
        """
        found = self.find_study(name)
        if found is None:
            raise UsageError(NO_SUCH_STUDY(study=name))
        return found

    def find_study(self, name: str) -> StudyRecord | None:
        """The study of that name, or None."""
        rows = self._rows(
            "SELECT definition, phase, created_at, since, reason FROM study WHERE name = ?", name
        )
        return _study(*rows[0]) if rows else None

    def add_study(self, connection: Connection, study: Study, now: float) -> None:
        """A new study, not yet started."""
        values = (study.name, encode(study), StudyPhase.CREATED.value, now, now)
        connection.execute(
            "INSERT INTO study (name, definition, phase, created_at, since) VALUES (?, ?, ?, ?, ?)", values
        )

    def move_study(
        self, connection: Connection, name: str, phase: StudyPhase, now: float, reason: Said | None = None
    ) -> None:
        """The study is in this phase now."""
        connection.execute(
            "UPDATE study SET since = iif(phase = ?, since, ?), phase = ?, reason = ? WHERE name = ?",
            (phase.value, now, phase.value, _kept(reason), name),
        )

    # --- rounds and parts -------------------------------------------------------------------------------------------

    def current_round(self, study: str) -> Round | None:
        """The study's newest round, or None before the first."""
        rows = self._rows("SELECT max(number) FROM round WHERE study = ?", study)
        return self.round(study, rows[0][0]) if rows[0][0] is not None else None

    def round(self, study: str, number: int) -> Round | None:
        """One round with its parts, or None."""
        rows = self._rows(
            "SELECT kind, quorum, deadline_s, opened_at, deadline_at, phase, since, extensions, closed_at,"
            " reason FROM round WHERE study = ? AND number = ?",
            study,
            number,
        )
        if not rows:
            return None
        kind, quorum, deadline_s, opened_at, deadline_at, phase, since, extensions, closed_at, reason = rows[
            0
        ]
        return Round(
            study=study,
            number=number,
            kind=RoundKind(kind),
            quorum=quorum,
            deadline_s=deadline_s,
            opened_at=opened_at,
            deadline_at=deadline_at,
            parts=self._parts(study, number),
            phase=RoundPhase(phase),
            since=since,
            extensions=extensions,
            closed_at=closed_at,
            reason=_said(reason),
        )

    def _parts(self, study: str, number: int) -> tuple[Part, ...]:
        rows = self._rows(
            "SELECT site, phase, since, trainer_key, blob, reason, text FROM part WHERE study = ? AND round = ? ORDER BY site",
            study,
            number,
        )
        return tuple(map(_part, rows))

    def part_errors(self, study: str) -> dict[str, Part]:
        """Each site's newest part that was declined or refused, in whatever round."""
        rows = self._rows(
            "SELECT site, phase, since, trainer_key, blob, reason, text FROM part"
            " WHERE study = ? AND reason IS NOT NULL ORDER BY round",
            study,
        )
        return {part.site: part for part in map(_part, rows)}

    def save_round(self, connection: Connection, after: Round, before: Round | None = None) -> None:
        """The round as it is now; parts that are as they were before are not written again."""
        connection.execute(
            "INSERT OR REPLACE INTO round VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                after.study,
                after.number,
                after.kind.value,
                after.quorum,
                after.deadline_s,
                after.opened_at,
                after.deadline_at,
                after.phase.value,
                after.since,
                after.extensions,
                after.closed_at,
                _kept(after.reason),
            ),
        )
        known = set(before.parts) if before else set()
        connection.executemany(
            "INSERT INTO part (study, round, site, phase, since, trainer_key, blob, reason, text)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET phase = excluded.phase, since = excluded.since, trainer_key = excluded.trainer_key,"
            " blob = excluded.blob, reason = excluded.reason, text = excluded.text",
            [(after.study, after.number, *_part_values(part)) for part in after.parts if part not in known],
        )

    def note_progress(self, connection: Connection, study: str, number: int, site: str, text: str) -> None:
        """What the site last said of its work on this round, for people."""
        connection.execute(
            "UPDATE part SET progress = ? WHERE study = ? AND round = ? AND site = ?",
            (text, study, number, site),
        )

    def progress(self, study: str, number: int) -> dict[str, str]:
        """What each site last said of its work on this round."""
        return dict(
            self._rows("SELECT site, progress FROM part WHERE study = ? AND round = ?", study, number)
        )

    # --- updates and results ------------------------------------------------------------------------------------------

    def save_upload(
        self, connection: Connection, study: str, number: int, upload: Upload, result: SiteResult
    ) -> None:
        """What a site offers for this round, in place of what it offered before."""
        connection.execute(
            "INSERT OR REPLACE INTO upload VALUES (?, ?, ?, ?, ?, ?, ?)",
            (study, number, upload.site, upload.blob, encode(upload.manifest), upload.key, upload.rows),
        )
        metrics = encode(_Metrics(values=result.metrics))
        connection.execute(
            "INSERT OR REPLACE INTO result VALUES (?, ?, ?, ?, ?, ?)",
            (study, number, result.site, result.rows, result.snapshot, metrics),
        )

    def uploads(self, study: str, number: int) -> tuple[Upload, ...]:
        """What is on its way or waits, in the order of the sites' names."""
        rows = self._rows(
            "SELECT site, blob, manifest, key, rows FROM upload WHERE study = ? AND round = ? ORDER BY site",
            study,
            number,
        )
        return tuple(
            Upload(site=site, blob=blob, manifest=_manifest(manifest), key=key, rows=count)
            for site, blob, manifest, key, count in rows
        )

    def forget_upload(self, connection: Connection, study: str, number: int, site: str, blob: bytes) -> None:
        """The key and the manifest of an update are erased."""
        connection.execute(
            "DELETE FROM upload WHERE study = ? AND round = ? AND site = ? AND blob = ?",
            (study, number, site, blob),
        )

    def waiting_blobs(self) -> set[bytes]:
        """The digests of all updates that are on their way or wait."""
        return {blob for (blob,) in self._rows("SELECT blob FROM upload")}

    def results(self, study: str) -> tuple[RoundResult, ...]:
        """What each closed round gave, from the sites whose part counted."""
        rows = self._rows(
            "SELECT round.number, round.kind, result.site, result.rows, result.snapshot, result.metrics FROM result"
            " JOIN part USING (study, round, site) JOIN round ON round.study = result.study AND round.number = result.round"
            " WHERE result.study = ? AND part.phase = 'folded' ORDER BY round.number, result.site",
            study,
        )
        collected: dict[tuple[int, RoundKind], list[SiteResult]] = {}
        for number, kind, site, count, snapshot, metrics in rows:
            values = decode(metrics, _Metrics, limit_bytes=OFFER_BYTES).values
            result = SiteResult(site=site, rows=count, snapshot=snapshot, metrics=values)
            collected.setdefault((number, RoundKind(kind)), []).append(result)
        return tuple(round_result(number, kind, sites) for (number, kind), sites in collected.items())

    # --- models -----------------------------------------------------------------------------------------------------

    def add_model(self, connection: Connection, model: ModelRecord) -> None:
        """A new global model."""
        connection.execute(
            "INSERT OR REPLACE INTO model VALUES (?, ?, ?, ?, ?, ?)",
            (
                model.study,
                model.number,
                encode(model.reference),
                encode(model.manifest),
                model.key,
                model.made_at,
            ),
        )

    def models(self, study: str) -> tuple[ModelRecord, ...]:
        """The study's models by number."""
        rows = self._rows(
            "SELECT study, number, reference, manifest, key, made_at FROM model WHERE study = ? ORDER BY number",
            study,
        )
        return tuple(_model(*row) for row in rows)

    def model(self, study: str, number: int) -> ModelRecord | None:
        """One model, or None."""
        rows = self._rows(
            "SELECT study, number, reference, manifest, key, made_at FROM model WHERE study = ? AND number = ?",
            study,
            number,
        )
        return _model(*rows[0]) if rows else None

    def newest_model(self, study: str) -> ModelRecord | None:
        """The study's last model, or None before the initial one is made."""
        rows = self._rows("SELECT max(number) FROM model WHERE study = ?", study)
        return self.model(study, rows[0][0]) if rows[0][0] is not None else None


def running(records: Iterable[StudyRecord]) -> tuple[StudyRecord, ...]:
    """Those that run."""
    return tuple(record for record in records if record.phase is StudyPhase.RUNNING)


def _study(definition: bytes, phase: str, created_at: float, since: float, reason: str) -> StudyRecord:
    study = decode(definition, Study, limit_bytes=OFFER_BYTES)
    return StudyRecord(
        study=study, phase=StudyPhase(phase), created_at=created_at, since=since, reason=_said(reason)
    )


def _kept(said: Said | None) -> str:
    """The code before the text, in one column."""
    return f"{said.code} {said.text}" if said else ""


def _said(kept: str) -> Said | None:
    """What was kept; an earlier version kept the text alone."""
    code, _, text = kept.partition(" ")
    return None if not kept else Said(code, text) if code in TABLE else Said("", kept)


def _model(
    study: str, number: int, reference: bytes, manifest: bytes, key: bytes, made_at: float
) -> ModelRecord:
    return ModelRecord(
        study=study,
        number=number,
        reference=decode(reference, ModelReference, limit_bytes=OFFER_BYTES),
        manifest=_manifest(manifest),
        key=key,
        made_at=made_at,
    )


def _part(row: tuple[Any, ...]) -> Part:
    site, phase, since, trainer_key, blob, reason, text = row
    return Part(
        site=site,
        phase=PartPhase(phase),
        since=since,
        trainer_key=trainer_key,
        blob=blob,
        reason=Reason(reason) if reason else None,
        text=text,
    )


def _manifest(data: bytes) -> Manifest:
    return decode(data, Manifest, limit_bytes=OFFER_BYTES)


def _part_values(part: Part) -> tuple[str, str, float, bytes | None, bytes | None, str | None, str]:
    return (
        part.site,
        part.phase.value,
        part.since,
        part.trainer_key,
        part.blob,
        part.reason.value if part.reason else None,
        part.text,
    )
