# SPDX-License-Identifier: Apache-2.0
"""The daemon's one trainer: starts it, hands it jobs, takes its update into the spool.

Rule: an event of a trainer that was closed is dropped, so that its end never looks like its successor's. What it hands
over is spooled only as a sealed memfd of exactly the size that the job's study gives; another ends the trainer.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from fedagent.channel import check_sealed, close_all
from fedagent.conditions.condition import Said
from fedagent.conditions.messages import UPDATE_SHAPE, UPDATE_SIZE
from fedagent.conditions.site import NOT_ITS_UPDATE, UPDATE_TOO_LATE
from fedagent.core import events as on
from fedagent.core.settings import Settings
from fedagent.errors import NoSpaceError, WireError
from fedagent.journal import tell
from fedagent.launch.trainer import Trainer, TrainerCame, TrainerEvent, TrainerFrame, TrainerGone
from fedagent.security.blob import ciphertext_bytes
from fedagent.storage.blobs import BlobFolder
from fedagent.storage.failpoints import Failpoint, reach
from fedagent.storage.shortage import Shortage
from fedagent.transport.backoff import Backoff
from fedagent.wire.frames import CheckpointNow, Job, JobSealed, JobStop
from fedagent.wire.manifest import Manifest, blob_digest
from fedagent.wire.messages import Announcement, RoundKind
from fedagent.wire.study import model_shapes
from fedagent.wire.tensors import file_bytes

TrainerNews = on.TrainerCame | on.TrainerSaid | on.TrainerLost | on.UpdateSpooled

log = logging.getLogger(__name__)

_UPDATE: Final = "update"
"""What waits for room."""


class _Due(msgspec.Struct, frozen=True):
    """What the job that was given last must bring; an evaluation brings no bytes."""

    study: str
    round: int
    size_bytes: int
    chunk_bytes: int


class Hosting:
    """Starts and ends trainers, one at a time."""

    def __init__(
        self,
        settings: Settings,
        config: Path,
        spool: BlobFolder,
        on_news: Callable[[TrainerNews], None],
        shortage: Shortage,
    ) -> None:
        self._settings, self._config, self._spool = settings, config, spool
        self._on_news, self._shortage = on_news, shortage
        self._trainer: Trainer | None = None
        self._due: _Due | None = None
        self._closing: set[Trainer] = set()
        self._untold: set[bytes] = set()
        self.copying = False
        """A fresh update may be in the spool whose name nobody knows yet but the copying thread."""
        self._sealed: asyncio.Queue[tuple[JobSealed, tuple[int, ...]]] = asyncio.Queue()

    async def run(self) -> None:
        """Takes sealed updates into the spool until cancelled."""
        while True:
            sealed, descriptors = await self._sealed.get()
            try:
                manifest = await self._spooled(sealed, descriptors)
            finally:
                close_all(descriptors)
            reach(Failpoint.SITE_UPDATE_SPOOLED)
            self._untold.add(blob_digest(manifest))
            self.copying = False
            self._on_news(on.UpdateSpooled(sealed=sealed, manifest=manifest))

    async def _spooled(self, sealed: JobSealed, descriptors: tuple[int, ...]) -> Manifest:
        """The update durably in the spool; where there is no room it stays in memory until there is."""
        backoff = Backoff()
        while True:
            self.copying = True
            try:
                manifest = await asyncio.to_thread(self._copy, sealed, descriptors)
            except NoSpaceError as error:
                self.copying = False  # what is deleted meanwhile makes room
                self._shortage.met(_UPDATE, error)
            else:
                self._shortage.over(_UPDATE)
                return manifest
            backoff.ended(0.0)
            await backoff.wait()

    @property
    def untold(self) -> frozenset[bytes]:
        """Updates in the spool that the core has not heard of yet: nobody may delete them before it has."""
        return frozenset(self._untold)

    def told(self, manifest: Manifest) -> None:
        """The core hears of this update now, and decides what becomes of it."""
        self._untold.discard(blob_digest(manifest))

    def not_told(self, manifest: Manifest) -> None:
        """The core could not take it yet, and will be told again."""
        self._untold.add(blob_digest(manifest))

    def start(self) -> None:
        """Brings a trainer up; news come."""

        def hear(event: TrainerEvent) -> None:
            self._hear(trainer, event)

        trainer = Trainer(self._settings, self._config, hear)
        self._trainer = trainer
        trainer.start()

    def give(self, job: Job, model: Path, announcement: Announcement) -> None:
        """Hands the job over with the model's blob opened for reading.

        Args:
            announcement: of the job's round: it says what size an update has.
        """
        if self._trainer is None:
            return
        self._due = _due(announcement)
        descriptor = os.open(model, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._trainer.send(job, [descriptor])
        finally:
            os.close(descriptor)

    def freeze(self) -> None:
        """The worker stops where it is."""
        if self._trainer:
            self._trainer.freeze()

    def thaw(self) -> None:
        """The worker goes on."""
        if self._trainer:
            self._trainer.thaw()

    def ask_checkpoint(self) -> None:
        """The worker is to make its state durable."""
        if self._trainer:
            self._trainer.send(CheckpointNow())

    def stop_job(self, study: str, *, erase: bool) -> None:
        """The supervisor is to drop the study's job."""
        if self._due is not None and self._due.study == study:
            self._due = None
        if self._trainer:
            self._trainer.send(JobStop(study=study, erase=erase))

    def close(self) -> None:
        """Ends supervisor and worker."""
        trainer, self._trainer, self._due = self._trainer, None, None
        if trainer is not None:
            self._closing.add(trainer)
            trainer.close()

    def dismiss(self, reason: Said) -> None:
        """Ends supervisor and worker, if there are any; the core is told as if they had ended by themselves."""
        if self._trainer is not None:
            self.close()
            self._on_news(on.TrainerLost(reason=reason))

    async def wait_closed(self) -> None:
        """Nothing of any trainer is left."""
        for trainer in list(self._closing):
            await trainer.wait_closed()

    def _hear(self, trainer: Trainer, event: TrainerEvent) -> None:
        if isinstance(event, TrainerGone):
            self._closing.discard(trainer)
        descriptors = event.descriptors if isinstance(event, TrainerFrame) else ()
        if trainer is not self._trainer:
            close_all(descriptors)
            return
        match event:
            case TrainerCame(ready=ready):
                self._on_news(on.TrainerCame(ready=ready))
            case TrainerGone(reason=reason):
                self._trainer, self._due = None, None
                self._on_news(on.TrainerLost(reason=reason))
            case TrainerFrame(frame=frame):
                if isinstance(frame, JobSealed):
                    self._take(frame, descriptors)
                else:
                    close_all(descriptors)
                    self._on_news(on.TrainerSaid(frame=frame))

    def _take(self, sealed: JobSealed, descriptors: tuple[int, ...]) -> None:
        due = self._due
        if due is None or (sealed.study, sealed.round) != (due.study, due.round):
            late = UPDATE_TOO_LATE(study=sealed.study, round=sealed.round)
            tell(log, late, study=sealed.study, round=sealed.round)
            close_all(descriptors)
            return
        try:
            _check(sealed, descriptors, due)
        except WireError as error:
            close_all(descriptors)
            self.dismiss(NOT_ITS_UPDATE(study=due.study, reason=error))
            return
        self._due = None
        self._sealed.put_nowait((sealed, descriptors))

    def _copy(self, sealed: JobSealed, descriptors: tuple[int, ...]) -> Manifest:
        if not descriptors:
            return Manifest(size_bytes=0, chunk_bytes=sealed.chunk_bytes, chunks=())
        return self._spool.add_file(_chunks(descriptors[0], sealed.chunk_bytes), sealed.chunk_bytes)


def _due(announcement: Announcement) -> _Due:
    study = announcement.study
    training = announcement.round_kind is RoundKind.TRAIN
    size = ciphertext_bytes(file_bytes(model_shapes(study.task)), study.chunk_bytes) if training else 0
    return _Due(study.name, announcement.round, size, study.chunk_bytes)


def _check(sealed: JobSealed, descriptors: tuple[int, ...], due: _Due) -> None:
    """Raises ``WireError`` where it is not as the study makes it."""
    if sealed.chunk_bytes != due.chunk_bytes or len(descriptors) != (due.size_bytes > 0):
        raise WireError(UPDATE_SHAPE(count=len(descriptors), chunk_bytes=sealed.chunk_bytes), "descriptor")
    for descriptor in descriptors:
        size = check_sealed(descriptor, due.size_bytes)
        if size != due.size_bytes:
            raise WireError(UPDATE_SIZE(size=size, needed=due.size_bytes), "descriptor")


def _chunks(descriptor: int, chunk_bytes: int) -> Iterator[bytes]:
    """The descriptor's bytes, a chunk at a time."""
    offset: int = 0
    while chunk := os.pread(descriptor, chunk_bytes, offset):
        yield chunk
        offset += len(chunk)
