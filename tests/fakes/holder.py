# SPDX-License-Identifier: Apache-2.0
"""The daemon's side of a trainer, as far as ``launch.Trainer`` goes: holds one and reads its events."""

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from fedagent.channel import close_all
from fedagent.core.settings import Settings
from fedagent.launch.trainer import Trainer, TrainerCame, TrainerEvent, TrainerFrame, TrainerGone
from fedagent.wire import frames
from fedagent.wire.messages import RoundKind
from tests.fakes.clinic import IDENTITY, Clinic

TIMEOUT_S = 60.0
QUIET_S = 0.5
"""Long enough for a burning worker to say many times that it burns."""

T = TypeVar("T")
F = TypeVar("F", bound=frames.Frame)


class Daemon:
    """Holds one trainer and reads its events."""

    def __init__(self, clinic: Clinic, settings: Settings | None = None) -> None:
        self.clinic = clinic
        self.events: asyncio.Queue[TrainerEvent] = asyncio.Queue()
        self.trainer = Trainer(settings or clinic.settings, clinic.config, self.events.put_nowait)
        self.ready: frames.Ready

    async def came(self) -> None:
        event = await asyncio.wait_for(self.events.get(), TIMEOUT_S)
        assert isinstance(event, TrainerCame), event
        self.ready = event.ready

    async def frame(self, kind: type[F]) -> tuple[F, tuple[int, ...]]:
        """The next frame of this kind; progress is passed over."""
        while True:
            event = await asyncio.wait_for(self.events.get(), TIMEOUT_S)
            assert isinstance(event, TrainerFrame), event
            if isinstance(event.frame, kind):
                return event.frame, event.descriptors
            assert isinstance(event.frame, frames.JobProgress), event

    async def gone(self) -> str:
        while True:
            event = await asyncio.wait_for(self.events.get(), TIMEOUT_S)
            if isinstance(event, TrainerGone):
                return event.reason.text
            if isinstance(event, TrainerFrame):
                close_all(event.descriptors)

    async def quiet(self) -> bool:
        """Whether nothing is heard for a while, after what is under way was heard."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                while True:
                    await asyncio.wait_for(self.events.get(), QUIET_S)
        except TimeoutError:
            return self.events.empty()

    def give(self, number: int = 1, kind: RoundKind = RoundKind.TRAIN) -> None:
        job, path = self.clinic.job(
            self.clinic.order(IDENTITY, round=number, kind=kind), self.ready.trainer_key
        )
        descriptor = os.open(path, os.O_RDONLY)
        self.trainer.send(job, [descriptor])
        os.close(descriptor)


@asynccontextmanager
async def daemon(clinic: Clinic, settings: Settings | None = None) -> AsyncIterator[Daemon]:
    held = Daemon(clinic, settings)
    held.trainer.start()
    try:
        yield held
    finally:
        held.trainer.close()
        await asyncio.wait_for(held.trainer.wait_closed(), TIMEOUT_S)


def play(scene: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(scene)
