# SPDX-License-Identifier: Apache-2.0
"""What the daemon takes from its trainer: the job's own update, sealed and of its exact size, and nothing else."""

import asyncio
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import pytest

from fedagent.channel import close_all, sealed_memfd
from fedagent.conditions.site import NOT_ITS_UPDATE
from fedagent.core import events as on
from fedagent.core.facts import Instant
from fedagent.launch.trainer import Trainer, TrainerFrame
from fedagent.security.blob import ciphertext_bytes
from fedagent.site.hosting import Hosting, TrainerNews
from fedagent.storage.blobs import BlobFolder
from fedagent.storage.shortage import Shortage
from fedagent.wire.frames import CheckpointDone, Job, JobSealed
from fedagent.wire.manifest import Manifest
from fedagent.wire.messages import Announcement, ModelReference, RoundKind
from fedagent.wire.study import Study
from tests.fakes.clinic import IDENTITY, SITE, Clinic, model_bytes

CHUNK = IDENTITY.chunk_bytes
SIZE = ciphertext_bytes(len(model_bytes(IDENTITY)), CHUNK)
SEALED = JobSealed(
    study=IDENTITY.name,
    round=1,
    chunk_bytes=CHUNK,
    secret=bytes(100),
    rows=1,
    snapshot=bytes(32),
    metrics=(),
    norm=1.0,
)


def announcement(study: Study = IDENTITY, kind: RoundKind = RoundKind.TRAIN) -> Announcement:
    reference = ModelReference(blob=bytes(32), size_bytes=1, chunk_bytes=CHUNK, plaintext=bytes(32))
    return Announcement(
        study=study, round=1, round_kind=kind, model=reference, aggregator_key=bytes(32), deadline_at=0.0
    )


class Host:
    """Hosting with a trainer that was given the job, and is connected to nothing."""

    def __init__(self, folder: Path, kind: RoundKind = RoundKind.TRAIN) -> None:
        clinic = Clinic(folder)
        self.news: asyncio.Queue[TrainerNews] = asyncio.Queue()
        self.blobs = BlobFolder(folder / "blobs")
        self.shortage = Shortage(lambda: Instant(monotonic=0.0, wall=0.0))
        self.hosting = Hosting(
            clinic.settings, clinic.config, self.blobs, self.news.put_nowait, self.shortage
        )
        self.trainer = Trainer(clinic.settings, clinic.config, lambda _: None)
        self.hosting._trainer = self.trainer
        model = folder / "model"
        model.touch()
        job = Job(study=IDENTITY.name, announcement=b"", model_key=bytes(100), site=SITE)
        self.hosting.give(job, model, announcement(kind=kind))

    def hear(self, sealed: JobSealed, descriptors: Iterable[int]) -> None:
        self.hosting._hear(self.trainer, TrainerFrame(sealed, tuple(descriptors)))

    async def spooled(self) -> on.UpdateSpooled:
        running = asyncio.ensure_future(self.hosting.run())
        try:
            news = await asyncio.wait_for(self.news.get(), 10.0)
        finally:
            running.cancel()
        assert isinstance(news, on.UpdateSpooled)
        return news


def memfd(size: int) -> int:
    return sealed_memfd("update", [bytes(size)])


def unsealed(size: int) -> int:
    descriptor = os.memfd_create("update", os.MFD_ALLOW_SEALING)
    os.truncate(descriptor, size)
    return descriptor


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def test_an_update_of_the_studys_size_is_spooled(tmp_path: Path) -> None:
    host = Host(tmp_path)
    update = memfd(SIZE)
    host.hear(SEALED, [update])
    spooled = asyncio.run(host.spooled())
    assert (spooled.manifest.size_bytes, spooled.manifest.chunk_bytes) == (SIZE, CHUNK)
    assert len(host.blobs.digests()) == 1
    assert not is_open(update)


def test_an_update_that_the_core_has_not_heard_of_is_kept_from_deletion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host(tmp_path)
    host.hear(SEALED, [memfd(SIZE)])
    copying: list[bool] = []
    copy = host.hosting._copy

    def watched(sealed: JobSealed, descriptors: tuple[int, ...]) -> Manifest:
        copying.append(host.hosting.copying)
        return copy(sealed, descriptors)

    monkeypatch.setattr(host.hosting, "_copy", watched)
    spooled = asyncio.run(host.spooled())
    assert (copying, host.hosting.copying) == ([True], False)
    assert host.hosting.untold == host.blobs.digests()
    host.hosting.told(spooled.manifest)
    assert host.hosting.untold == frozenset()


def test_an_evaluation_brings_no_bytes(tmp_path: Path) -> None:
    host = Host(tmp_path, RoundKind.EVALUATE)
    host.hear(SEALED, [])
    assert asyncio.run(host.spooled()).manifest.size_bytes == 0


LIES: dict[str, tuple[RoundKind, JobSealed, Callable[[], list[int]]]] = {
    "shorter": (RoundKind.TRAIN, SEALED, lambda: [memfd(SIZE - 1)]),
    "longer": (RoundKind.TRAIN, SEALED, lambda: [memfd(SIZE + 1)]),
    "not sealed": (RoundKind.TRAIN, SEALED, lambda: [unsealed(SIZE)]),
    "a file": (RoundKind.TRAIN, SEALED, lambda: [os.open("/dev/zero", os.O_RDONLY)]),
    "nothing": (RoundKind.TRAIN, SEALED, list),
    "two": (RoundKind.TRAIN, SEALED, lambda: [memfd(SIZE), memfd(SIZE)]),
    "other chunks": (
        RoundKind.TRAIN,
        msgspec.structs.replace(SEALED, chunk_bytes=CHUNK * 2),
        lambda: [memfd(SIZE)],
    ),
    "bytes of an evaluation": (RoundKind.EVALUATE, SEALED, lambda: [memfd(SIZE)]),
}


@pytest.mark.parametrize(("kind", "sealed", "make"), LIES.values(), ids=LIES)
def test_a_trainer_that_hands_over_anything_else_is_closed_and_nothing_is_spooled(
    tmp_path: Path, kind: RoundKind, sealed: JobSealed, make: Callable[[], list[int]]
) -> None:
    host = Host(tmp_path, kind)
    descriptors = make()
    host.hear(sealed, descriptors)
    lost = host.news.get_nowait()
    assert isinstance(lost, on.TrainerLost)
    assert lost.reason.code == NOT_ITS_UPDATE.code
    assert f"for study {IDENTITY.name} is no update of it" in lost.reason.text
    assert host.hosting._trainer is None
    assert host.hosting._sealed.empty()
    assert not any(map(is_open, descriptors))


def test_an_update_whose_job_was_stopped_or_replaced_is_dropped(tmp_path: Path) -> None:
    host = Host(tmp_path)
    for sealed in (
        msgspec.structs.replace(SEALED, round=2),
        msgspec.structs.replace(SEALED, study="other-1"),
    ):
        host.hear(sealed, [memfd(SIZE)])
    host.hosting.stop_job(IDENTITY.name, erase=False)
    host.hear(SEALED, [memfd(SIZE)])
    assert host.news.empty()
    assert host.hosting._sealed.empty()
    assert host.hosting._trainer is host.trainer


def test_a_job_brings_one_update(tmp_path: Path) -> None:
    host = Host(tmp_path)
    for _ in range(2):
        host.hear(SEALED, [memfd(SIZE)])
    assert host.hosting._sealed.qsize() == 1
    close_all(host.hosting._sealed.get_nowait()[1])


def test_descriptors_of_other_frames_are_closed(tmp_path: Path) -> None:
    host = Host(tmp_path)
    beside = memfd(1)
    host.hosting._hear(host.trainer, TrainerFrame(CheckpointDone(step=1), (beside,)))
    assert isinstance(host.news.get_nowait(), on.TrainerSaid)
    assert not is_open(beside)
