# SPDX-License-Identifier: Apache-2.0
"""What the supervisor checks before it trains anything.

Rule: the daemon is believed nothing. What counts is what the aggregator signed, what root approved, and what this
trainer has already done; everything else is refused before the worker hears of it.
"""

import contextlib
import logging
import os
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from fedagent.channel import close_all
from fedagent.conditions.condition import Said
from fedagent.conditions.data import NO_SNAPSHOT_YET, SNAPSHOTS_UNUSABLE
from fedagent.conditions.site import NOT_APPROVED
from fedagent.conditions.trainer import (
    ANNOUNCEMENT_NOT_PROVEN,
    CHECKPOINT_EVICTED,
    HAS_ENDED,
    JOB_DESCRIPTORS,
    JOB_FOR_ANOTHER_SITE,
    JOB_NOT_PREPARED,
    MODEL_NOT_OPENED,
    NOT_AN_ANNOUNCEMENT,
)
from fedagent.core.approval import Approval, objection
from fedagent.core.settings import Settings
from fedagent.errors import ConfigurationError, NoSpaceError, StorageError, WireError
from fedagent.journal import tell
from fedagent.security.certificates import Trust
from fedagent.security.mail import open_mail
from fedagent.security.sealing import model_key_context, public_key, unseal
from fedagent.storage import disk
from fedagent.storage.files import make_private_folder
from fedagent.storage.room import MIB
from fedagent.storage.settings import read_approval
from fedagent.trainer.model import open_model
from fedagent.trainer.refusal import RefusedError
from fedagent.trainer.rounds import RoundLedger, work_digest
from fedagent.trainer.snapshots import SnapshotRecord, SnapshotStore
from fedagent.wire.frames import Job, SnapshotEntry, WorkerJob
from fedagent.wire.messages import Announcement, Reason, RoundKind
from fedagent.wire.study import Identity, Study, model_shapes
from fedagent.wire.topics import round_topic

_log: Final = logging.getLogger(__name__)

NO_SNAPSHOT: Final = bytes(32)
"""Stands for the snapshot where the task reads no data."""


class PreparedJob:
    """A job that passed every check, with what the worker needs; owns its descriptors.

    Attributes:
        snapshot: digest of the snapshot, ``NO_SNAPSHOT`` where there is none.
    """

    def __init__(self, announcement: Announcement, frame: WorkerJob, descriptors: Sequence[int]) -> None:
        """Takes the descriptors over."""
        self.announcement = announcement
        self.frame = frame
        self.descriptors = tuple(descriptors)
        self.snapshot = frame.snapshot or NO_SNAPSHOT

    def close(self) -> None:
        """The descriptors are closed."""
        close_all(self.descriptors)


class JobCheck:
    """Turns what the daemon sends into a job for the worker, or refuses.

    Attributes:
        trainer_key: the public key to which models' keys are sealed.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        trust: Trust,
        private_key: bytes,
        rounds: RoundLedger,
        snapshots: SnapshotStore,
    ) -> None:
        self._settings = settings
        self._trust = trust
        self._private_key = private_key
        self.trainer_key = public_key(private_key)
        self._rounds = rounds
        self._snapshots = snapshots
        self._checkpoints = make_private_folder(Path(settings.paths.trainer_state) / "checkpoints")

    def prepare(
        self, job: Job, descriptors: Sequence[int], *, now: datetime, pulse: Callable[[], None]
    ) -> PreparedJob:
        """The job, ready for the worker; its round is durably begun.

        Args:
            descriptors: what came with the frame; stays the caller's.
            pulse: called once a chunk; what it raises ends the work.

        Raises:
            RefusedError: something is not as it must be; nothing was changed.
            StorageError: the round could not be recorded.
        """
        announcement = self._announcement(job, now)
        try:
            approval = self._approved(announcement)
            snapshot = self._snapshot(announcement.study, approval)
            model = self._model(job, announcement, descriptors, pulse)
        except RefusedError as refusal:
            refusal.round = announcement.round
            raise
        try:
            self._rounds.begin(announcement)
            checkpoint = self._checkpoint(announcement, snapshot)
            data = (
                []
                if snapshot is None
                else [os.open(snapshot.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)]
            )
        except NoSpaceError as error:
            os.close(model)
            raise RefusedError(Reason.NO_SPACE, error.said, announcement.round) from error
        except (StorageError, OSError) as error:
            os.close(model)
            raise StorageError(JOB_NOT_PREPARED(study=announcement.study.name, reason=error)) from error
        return PreparedJob(announcement, self._worker_job(announcement, snapshot, checkpoint), [model, *data])

    def objection(self, announcement: Announcement) -> Said | None:
        """Why a result of this work may not leave, though its training was allowed: the approval may be gone by now."""
        try:
            self._approved(announcement)
        except RefusedError as refusal:
            return refusal.said
        return None

    def snapshots(self) -> tuple[SnapshotEntry, ...]:
        """What data there are, for the first frame; none where the store is damaged."""
        try:
            records = self._snapshots.all()
        except StorageError as error:
            tell(_log, SNAPSHOTS_UNUSABLE(reason=error))
            return ()
        return tuple(
            SnapshotEntry(dataset=each.dataset, digest=each.digest, rows=each.rows) for each in records
        )

    def erase(self, study: str) -> None:
        """The study's checkpoints are gone; its round stays, lest it be trained again."""
        self._keep_only(self._checkpoints / study, None)

    def erase_unapproved(self) -> None:
        """What is kept of studies whose approval was taken back while no trainer ran is gone."""
        for folder in self._checkpoints.iterdir():
            if not (Path(self._settings.paths.approvals) / f"{folder.name}.toml").exists():
                self.erase(folder.name)

    # --- the checks, in their order ---------------------------------------------------------------------------

    def _announcement(self, job: Job, now: datetime) -> Announcement:
        try:
            mail = open_mail(job.announcement, topic=round_topic(job.study), trust=self._trust, now=now)
        except WireError as error:
            raise RefusedError(Reason.UNREADABLE, ANNOUNCEMENT_NOT_PROVEN(reason=error)) from error
        announcement = mail.message
        if not isinstance(announcement, Announcement):
            raise RefusedError(Reason.UNREADABLE, NOT_AN_ANNOUNCEMENT(kind=type(announcement).__name__))
        site = self._settings.site.name
        if job.site != site or site not in announcement.study.federation.sites:
            said = JOB_FOR_ANOTHER_SITE(study=announcement.study.name, other=job.site, site=site)
            raise RefusedError(Reason.NOT_A_MEMBER, said, announcement.round)
        return announcement

    def _approved(self, announcement: Announcement) -> Approval:
        study = announcement.study
        try:
            approval = read_approval(Path(self._settings.paths.approvals), study.name)
        except ConfigurationError as error:
            raise RefusedError(Reason.REVOKED, error.said) from error
        against = objection(study, announcement.round, approval, announcement.round_kind)
        if against is not None or approval is None:
            raise RefusedError(Reason.REVOKED, against or NOT_APPROVED(study=study.name))
        if announcement.round_kind is RoundKind.ENDED:
            raise RefusedError(Reason.ROUND_CLOSED, HAS_ENDED(study=study.name))
        past = self._rounds.objection(announcement)
        if past is not None:
            raise RefusedError(Reason.ROUND_CLOSED, past)
        return approval

    def _snapshot(self, study: Study, approval: Approval) -> SnapshotRecord | None:
        if isinstance(study.task, Identity):
            return None
        try:
            record = self._snapshots.current(approval.dataset)
        except StorageError as error:
            raise RefusedError(Reason.NO_DATASET, error.said) from error
        if record is None:
            raise RefusedError(Reason.NO_DATASET, NO_SNAPSHOT_YET(dataset=approval.dataset))
        return record

    def _model(
        self, job: Job, announcement: Announcement, descriptors: Sequence[int], pulse: Callable[[], None]
    ) -> int:
        reference, study = announcement.model, announcement.study
        if len(descriptors) != 1:
            raise RefusedError(Reason.UNREADABLE, JOB_DESCRIPTORS(count=len(descriptors)))
        context = model_key_context(study.name, announcement.round, self._settings.site.name, reference.blob)
        try:
            key = unseal(self._private_key, job.model_key, context=context)
            return open_model(
                descriptors[0], reference=reference, key=key, shapes=model_shapes(study.task), pulse=pulse
            )
        except WireError as error:
            raise RefusedError(Reason.UNREADABLE, MODEL_NOT_OPENED(reason=error)) from error

    # --- what the worker gets ---------------------------------------------------------------------------------

    def _worker_job(
        self, announcement: Announcement, snapshot: SnapshotRecord | None, checkpoint: Path
    ) -> WorkerJob:
        trainer = self._settings.trainer
        return WorkerJob(
            study=announcement.study,
            round=announcement.round,
            round_kind=announcement.round_kind,
            site=self._settings.site.name,
            model=announcement.model.plaintext,
            snapshot=None if snapshot is None else snapshot.digest,
            checkpoint=str(checkpoint),
            checkpoint_every_s=trainer.checkpoint_every_s,
            threads=trainer.threads,
        )

    def _checkpoint(self, announcement: Announcement, snapshot: SnapshotRecord | None) -> Path:
        """The path for this work on this snapshot; what earlier work of the study left is removed."""
        folder = make_private_folder(self._checkpoints / announcement.study.name)
        version = NO_SNAPSHOT if snapshot is None else snapshot.digest
        name = f"{announcement.round}-{work_digest(announcement).hex()[:16]}-{version.hex()[:16]}"
        self._keep_only(folder, name)
        self._stay_in_budget(folder)
        return folder / name

    def _stay_in_budget(self, folder: Path) -> None:
        """Other studies' checkpoints go, oldest first, while all take more than they may; those rounds begin anew."""
        files = sorted(self._checkpoints.glob("*/*"), key=lambda path: path.stat().st_mtime)
        over = sum(path.stat().st_size for path in files) - self._settings.trainer.checkpoint_budget_mib * MIB
        for path in files:
            if over > 0 and path.parent != folder:
                size = path.stat().st_size
                disk.remove(path)
                tell(_log, CHECKPOINT_EVICTED(study=path.parent.name, size_mib=-(-size // MIB)))
                over -= size

    def _keep_only(self, folder: Path, name: str | None) -> None:
        with contextlib.suppress(FileNotFoundError):
            for path in folder.iterdir():
                if path.name != name:
                    disk.remove(path)
