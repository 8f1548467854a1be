# SPDX-License-Identifier: Apache-2.0
"""Moves studies and their rounds: decides durably, then says and does what follows.

Rule: each method is one transaction, then its effects; whatever a crash or a full disk between the two prevents is found and
done by ``resume`` or ``tick``. A closed round, its new model and the next round are one transaction.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from sqlite3 import Connection
from typing import Final, assert_never

from fedagent.aggregator import jobs, letters, records, studies
from fedagent.aggregator import round_events as on
from fedagent.aggregator.fold import StagedUpdate
from fedagent.aggregator.intake import Intake
from fedagent.aggregator.metrics import following
from fedagent.aggregator.models import Models, Published
from fedagent.aggregator.post import Post
from fedagent.aggregator.rounds import ACTIVE, Round, open_round, part_of, sites_in, step
from fedagent.aggregator.store import ModelRecord, Store, StudyRecord, running
from fedagent.aggregator.sweep import sweep
from fedagent.aggregator.tables import STUDY_TABLE, PartPhase, RoundPhase, StudyEvent, StudyPhase, advance
from fedagent.aggregator.workshop import Workshop
from fedagent.conditions.aggregator import (
    CANNOT_STOP,
    CENTRE_SAYS,
    NO_MODEL_OF_ROUND,
    NO_SUCH_ROUND,
    STUDY_FAILED,
    STUDY_IS_STOPPED,
    STUDY_STARTED,
    UPDATE_LOST_HERE,
)
from fedagent.conditions.condition import Said
from fedagent.core.facts import Instant
from fedagent.errors import NoSpaceError, TransitionError, UsageError
from fedagent.journal import tell
from fedagent.wire.messages import Reason, RoundKind

log = logging.getLogger(__name__)

Extra = Callable[[Connection], None]

_EFFECTS: Final = "effects"
"""What waits for room, beside the models."""


def _nothing(_: Connection) -> None:
    """No more effects."""


class Conductor:
    """The studies of this aggregator."""

    def __init__(
        self,
        store: Store,
        post: Post,
        models: Models,
        intake: Intake,
        *,
        aggregator_key: bytes,
        workshop: Workshop,
    ) -> None:
        """Changes nothing yet.

        Args:
            aggregator_key: our public key; updates are sealed to it.
        """
        self._store, self._post, self._models, self._intake = store, post, models, intake
        self._key, self._workshop, self._shortage = aggregator_key, workshop, workshop.shortage
        self._failed: NoSpaceError | None = None

    # --- what survives a restart ------------------------------------------------------------------------------------

    def resume(self, now: Instant) -> None:
        """Takes up everything where the store says that it was; deletes what no row needs."""
        sweep(self._store, self._models, self._intake)
        self.tick(now)

    def _take_up(self, record: StudyRecord, now: Instant) -> None:
        """What is due, and whatever should be under way and is not."""
        name = record.study.name
        round_ = self._store.current_round(name)
        if round_ and round_.phase is RoundPhase.OPEN and round_.deadline_at <= now.wall:
            self.apply(round_, on.Ticked(), now)
        if self._workshop.may_begin(name):
            if round_ is None:
                self._workshop.begin(jobs.Prepare(record.study))
            elif round_.phase is RoundPhase.CLOSING:
                self._fold(record, round_, sites_in(round_, PartPhase.STORED), now)
        for site in sites_in(round_, PartPhase.OFFERED) if round_ else ():
            if round_ and not self._intake.expects(site, name):
                self._collect(self._round(name, round_.number), site, now)

    def announce_all(self) -> None:
        """Every study's retained announcement, and a hello to each site of an open one."""
        names: set[str] = set()
        for record in self._store.studies():
            self.announce(record)
            if record.phase is StudyPhase.RUNNING:
                names.update(record.study.federation.sites)
        for name in sorted(names):
            self.hello(name)
        self._post.repeat()

    def announce(self, record: StudyRecord) -> None:
        """The study's retained announcement, once it has a round."""
        round_ = self._store.current_round(record.study.name)
        model = self._store.model(record.study.name, round_.number - 1) if round_ else None
        if round_ is None or model is None:
            return
        if record.phase is not StudyPhase.RUNNING:
            model = self._store.newest_model(record.study.name) or model
        self._post.announce(letters.announcement(record, round_, model, self._key))

    def hello(self, site: str) -> None:
        """Tells a site which open studies name it."""
        rounds = [
            self._store.current_round(record.study.name)
            for record in running(self._store.studies())
            if site in record.study.federation.sites
        ]
        self._post.hello(site, [letters.open_study(round_) for round_ in rounds if round_])

    def tick(self, now: Instant) -> None:
        """Closes or extends the rounds whose deadline has passed; takes up what found no room on the disk before."""
        if self._shortage.waits(_EFFECTS):
            return
        for record in running(self._store.studies()):
            try:
                self._take_up(record, now)
            except NoSpaceError as error:
                self._failed = error
        failed, self._failed = self._failed, None
        if failed is not None:
            self._shortage.met(_EFFECTS, failed)
        else:
            self._shortage.over(_EFFECTS)

    # --- what the operator asks ---------------------------------------------------------------------------------------

    def start(self, name: str, now: Instant) -> None:
        """The study runs; its first round opens when its model is made.

        Raises:
            UsageError: no such study, or it has ended.
        """
        if studies.start(self._store, name, now.wall):
            tell(log, STUDY_STARTED(study=name), study=name)
            self._workshop.begin(jobs.Prepare(self._store.study(name).study))

    def stop(self, name: str, text: str, now: Instant) -> None:
        """The study is over: sites stop their work on it.

        Raises:
            UsageError: no such study, or it has ended.
        """
        record = self._store.study(name)
        if (record.phase, StudyEvent.STOP) not in STUDY_TABLE:
            raise UsageError(CANNOT_STOP(study=name, phase=record.phase))
        self._end(record, StudyEvent.STOP, CENTRE_SAYS(text=text), now)

    # --- what happens -------------------------------------------------------------------------------------------------

    def apply(self, round_: Round, event: on.Event, now: Instant, also: Extra = _nothing) -> None:
        """The event happens to the round: durable with ``also``, then performed."""
        after, commands = step(round_, event, now.wall)
        with self._store.database.transaction() as connection:
            self._record(connection, round_, after, commands)
            also(connection)
        self._perform(after, commands, now)

    def job_done(self, result: jobs.JobResult, now: Instant) -> None:
        """What a job gave takes effect, unless its study was stopped meanwhile.

        Raises:
            NoSpaceError: it cannot be stored, and is to be told again.
        """
        record = self._store.find_study(result.study)
        wanted = record is not None and record.phase is StudyPhase.RUNNING
        if isinstance(result, jobs.NoRoom) and wanted:
            self._workshop.found_no_room(result)
            return
        self._workshop.end(result.study)
        if record is None or not wanted or isinstance(result, jobs.NoRoom):
            return
        try:
            self._job_gave(record, result, now)
        except NoSpaceError:
            self._workshop.wait(result.study)
            raise

    def _job_gave(self, record: StudyRecord, result: jobs.Made, now: Instant) -> None:
        match result:
            case jobs.Prepared():
                self._open_first(record, result.model, now)
            case jobs.RoundFolded():
                round_ = self._round(result.study, result.number)
                self._close(record, round_, result.sites, result.model, now)
            case jobs.UpdateUnusable():
                round_ = self._round(result.study, result.number)
                records.update_unusable(round_, result.site, result.said)
                self.apply(round_, on.Rejected(result.site, result.reason, result.said.text), now)
            case jobs.RoundBroken():
                self._end(record, StudyEvent.FAIL, result.said, now)
            case _:
                assert_never(result)

    # --- how ------------------------------------------------------------------------------------------------------------

    def _round(self, study: str, number: int) -> Round:
        round_ = self._store.round(study, number)
        if round_ is None:
            raise TransitionError(NO_SUCH_ROUND(study=study, round=number))
        return round_

    def _record(
        self, connection: Connection, before: Round, after: Round, commands: tuple[on.Command, ...]
    ) -> None:
        if after != before:
            self._store.save_round(connection, after, before)
        for command in commands:
            if isinstance(command, on.Forget):
                self._store.forget_upload(connection, after.study, after.number, command.site, command.blob)
            elif isinstance(command, letters.Verdict):
                letter = letters.verdict_letter(after, command)
                key = letters.verdict_key(after.study, command.site)
                self._post.outbox.put(connection, key, letter, command.site)

    def _perform(self, round_: Round, commands: tuple[on.Command, ...], now: Instant) -> None:
        """What finds no room is made up for: an update that is not collected and a round that is not folded by the next tick."""
        for command in commands:
            try:
                self._do(round_, command, now)
            except NoSpaceError as error:
                self._failed = error

    def _do(self, round_: Round, command: on.Command, now: Instant) -> None:
        match command:
            case on.SendReceipt() | on.SendRefusal() | on.SendCancel():
                self._tell(round_, command)
            case on.SendKey(site=site):
                self.send_key(round_, site)
            case on.Collect(site=site):
                self._collect(round_, site, now)
            case on.Forget(site=site, blob=blob):
                self._forget(round_, site, blob)
            case on.Announce():
                records.round_waits(round_)
                self.announce(self._store.study(round_.study))
            case on.Fold(sites=sites):
                self._fold(self._store.study(round_.study), round_, sites, now)
            case _:
                assert_never(command)

    def _forget(self, round_: Round, site: str, blob: bytes) -> None:
        if round_.kind is RoundKind.EVALUATE:
            return  # a result has no bytes
        self._intake.forget(site, round_.study, blob)
        records.update_deleted(round_, site)

    def _tell(self, round_: Round, verdict: letters.Verdict) -> None:
        letter = letters.verdict_letter(round_, verdict)
        records.site_told(round_, verdict.site, letter)
        self._post.send(letter, verdict.site)

    def send_key(self, round_: Round, site: str) -> None:
        """The key of the round's model, sealed to the site's trainer."""
        part, model = part_of(round_, site), self._store.model(round_.study, round_.number - 1)
        letter = letters.model_key(round_, part, model) if part and model else None
        if letter is not None:
            self._post.send(letter, site)

    def _collect(self, round_: Round, site: str, now: Instant) -> None:
        """Grant the update's chunks; a result without any is here already."""
        upload = next(
            (each for each in self._store.uploads(round_.study, round_.number) if each.site == site), None
        )
        if upload is None:
            return
        empty = upload.manifest.size_bytes == 0
        if empty or self._intake.expect(site, round_.study, round_.number, upload.manifest, now.monotonic):
            self.apply(round_, on.Stored(site, upload.blob), now)

    def _fold(self, record: StudyRecord, round_: Round, sites: tuple[str, ...], now: Instant) -> None:
        if not self._shortage.text:  # else it is said for the second time
            records.round_combined(round_, len(sites))
        if round_.kind is RoundKind.EVALUATE:
            self._close(record, round_, sites, None, now)
            return
        model = self._store.model(round_.study, round_.number - 1)
        uploads = [each for each in self._store.uploads(round_.study, round_.number) if each.site in sites]
        paths = {each.site: self._intake.path(each.blob) for each in uploads}
        for site in sites:
            if paths.get(site) is None:
                self.apply(round_, on.Rejected(site, Reason.UNREADABLE, UPDATE_LOST_HERE().text), now)
                return
        if model is None:
            raise TransitionError(NO_MODEL_OF_ROUND(study=round_.study, round=round_.number))
        keep = record.study.federation.aggregation.server_momentum != 0.0 and round_.number > 1
        self._workshop.begin(
            jobs.FoldRound(
                study=record.study,
                number=round_.number,
                base=model.reference.plaintext,
                updates=tuple(
                    StagedUpdate(site=each.site, path=path, key=each.key, rows=each.rows)
                    for each in uploads
                    if (path := paths[each.site]) is not None
                ),
                velocity=self._models.velocity(round_.study, round_.number - 1) if keep else None,
            )
        )

    def _open_first(self, record: StudyRecord, model: Published, now: Instant) -> None:
        study = record.study
        with self._store.database.transaction() as connection:
            self._store.add_model(connection, model.record(study.name, 0, now.wall))
            first = open_round(study, 1, RoundKind.TRAIN, now.wall)
            self._store.save_round(connection, first)
        records.round_opened(first)
        self.announce(record)
        for site in study.federation.sites:
            self.hello(site)

    def _close(
        self,
        record: StudyRecord,
        round_: Round,
        sites: tuple[str, ...],
        model: Published | None,
        now: Instant,
    ) -> None:
        """The round counts: with it the new model and what comes next."""
        study, number = record.study, round_.number
        after, commands = step(round_, on.Folded(sites), now.wall)
        with self._store.database.transaction() as connection:
            self._record(connection, round_, after, commands)
            if model is not None:
                self._store.add_model(connection, model.record(study.name, number, now.wall))
            kind = following(study.federation, self._store.results(study.name))
            if kind is RoundKind.ENDED:
                phase = advance(STUDY_TABLE, record.phase, StudyEvent.END)
                self._store.move_study(connection, study.name, phase, now.wall)
            else:
                self._store.save_round(connection, open_round(study, number + 1, kind, now.wall))
        self._perform(after, commands, now)
        if model is not None or kind is RoundKind.ENDED:
            self._retire(self._store.model(study.name, number - 1))
        records.round_closed(after, kind)
        self.announce(self._store.study(study.name))

    def _end(self, record: StudyRecord, event: StudyEvent, reason: Said, now: Instant) -> None:
        name = record.study.name
        phase = advance(STUDY_TABLE, record.phase, event)
        round_ = self._store.current_round(name)
        active = round_ is not None and round_.phase in ACTIVE
        after, commands = step(round_, on.Stopped(reason), now.wall) if round_ and active else (None, ())
        with self._store.database.transaction() as connection:
            if round_ and after:
                self._record(connection, round_, after, commands)
            self._store.move_study(connection, name, phase, now.wall, reason)
        self._workshop.end(name)
        number = round_.number if round_ else 0
        if event is StudyEvent.STOP:
            said = STUDY_IS_STOPPED(study=name, reason=reason)
        else:
            said = STUDY_FAILED(study=name, round=number, reason=reason)
        tell(log, said, study=name, round=number)
        if after:
            self._perform(after, commands, now)
        self._retire(self._store.newest_model(name))
        self.announce(self._store.study(name))

    def _retire(self, model: ModelRecord | None) -> None:
        if model is not None:
            with suppress(
                NoSpaceError
            ):  # removing takes room on some file systems; what is left goes with the next start
                self._models.retire(model.study, model.number, model.reference.blob)
