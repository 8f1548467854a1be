# SPDX-License-Identifier: Apache-2.0
"""The daemon's one trainer: starts it, hands it jobs, takes its update into the spool.

Rule: an event of a trainer that was closed is dropped, so that its end never looks like its successor's.
"""

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from fedagent.core import events as on
from fedagent.core.settings import Settings
from fedagent.launch.trainer import Trainer, TrainerCame, TrainerEvent, TrainerFrame, TrainerGone
from fedagent.storage.blobs import BlobFolder
from fedagent.storage.failpoints import Failpoint, reach
from fedagent.wire.frames import CheckpointNow, Job, JobSealed, JobStop
from fedagent.wire.manifest import Manifest

TrainerNews = on.TrainerCame | on.TrainerSaid | on.TrainerLost | on.UpdateSpooled


class Hosting:
    """Starts and ends trainers, one at a time."""

    def __init__(
        self, settings: Settings, config: Path, spool: BlobFolder, on_news: Callable[[TrainerNews], None]
    ) -> None:
        self._settings, self._config, self._spool = settings, config, spool
        self._on_news = on_news
        self._trainer: Trainer | None = None
        self._closing: set[Trainer] = set()
        self._sealed: asyncio.Queue[tuple[JobSealed, tuple[int, ...]]] = asyncio.Queue()

    async def run(self) -> None:
        """Takes sealed updates into the spool until cancelled."""
        while True:
            sealed, descriptors = await self._sealed.get()
            try:
                manifest = await asyncio.to_thread(self._copy, sealed, descriptors)
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)
            reach(Failpoint.SITE_UPDATE_SPOOLED)
            self._on_news(on.UpdateSpooled(sealed=sealed, manifest=manifest))

    def start(self) -> None:
        """Brings a trainer up; news come."""

        def hear(event: TrainerEvent) -> None:
            self._hear(trainer, event)

        trainer = Trainer(self._settings, self._config, hear)
        self._trainer = trainer
        trainer.start()

    def give(self, job: Job, model: Path) -> None:
        """Hands the job over with the model's blob opened for reading."""
        if self._trainer is None:
            return
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
        if self._trainer:
            self._trainer.send(JobStop(study=study, erase=erase))

    def close(self) -> None:
        """Ends supervisor and worker."""
        trainer, self._trainer = self._trainer, None
        if trainer is not None:
            self._closing.add(trainer)
            trainer.close()

    async def wait_closed(self) -> None:
        """Nothing of any trainer is left."""
        for trainer in list(self._closing):
            await trainer.wait_closed()

    def _hear(self, trainer: Trainer, event: TrainerEvent) -> None:
        if isinstance(event, TrainerGone):
            self._closing.discard(trainer)
        if trainer is not self._trainer:
            for descriptor in event.descriptors if isinstance(event, TrainerFrame) else ():
                os.close(descriptor)
            return
        match event:
            case TrainerCame(ready=ready):
                self._on_news(on.TrainerCame(ready=ready))
            case TrainerGone(text=text):
                self._trainer = None
                self._on_news(on.TrainerLost(text=text))
            case TrainerFrame(frame=frame, descriptors=descriptors):
                if isinstance(frame, JobSealed):
                    self._sealed.put_nowait((frame, descriptors))
                else:
                    self._on_news(on.TrainerSaid(frame=frame))

    def _copy(self, sealed: JobSealed, descriptors: tuple[int, ...]) -> Manifest:
        if not descriptors:
            return Manifest(size_bytes=0, chunk_bytes=sealed.chunk_bytes, chunks=())
        return self._spool.add_file(_chunks(descriptors[0], sealed.chunk_bytes), sealed.chunk_bytes)


def _chunks(descriptor: int, chunk_bytes: int) -> Iterator[bytes]:
    """The descriptor's bytes, a chunk at a time."""
    offset: int = 0
    while chunk := os.pread(descriptor, chunk_bytes, offset):
        yield chunk
        offset += len(chunk)
