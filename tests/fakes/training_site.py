# SPDX-License-Identifier: Apache-2.0
"""A site's data as the tabular task sees them, and runs of jobs on them in this process."""

import os
from pathlib import Path

import msgspec

from fedagent.channel import close_all, sealed_memfd
from fedagent.trainer.tasks import Inputs, Outcome
from fedagent.trainer.tasks.tabular import run
from fedagent.trainer.tensor_file import Tensors, tensor_chunks
from fedagent.wire import study as s
from fedagent.wire.frames import WorkerJob
from fedagent.wire.messages import RoundKind
from tests.fakes.listener import Listener
from tests.fakes.tables import make_columns, make_model, make_study, write_snapshot


class Site:
    """A folder with one snapshot, and runs of jobs on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.snapshot = write_snapshot(folder / "rows.parquet", make_columns())

    def job(self, task: s.Task, **changes: object) -> WorkerJob:
        job = WorkerJob(
            study=make_study(task),
            round=1,
            round_kind=RoundKind.TRAIN,
            site="clinic-a",
            model=bytes(32),
            snapshot=bytes(32),
            checkpoint=str(self.folder / "checkpoint"),
            checkpoint_every_s=30.0,
            threads=1,
        )
        return msgspec.structs.replace(job, **changes)

    def run(
        self, job: WorkerJob, *, model: Tensors | None = None, listener: Listener | None = None
    ) -> tuple[Outcome, bytes]:
        tensors = make_model(job.study.task) if model is None else model
        descriptors = [sealed_memfd("model", tensor_chunks(tensors)), os.open(self.snapshot, os.O_RDONLY)]
        try:
            outcome = run(job, Inputs(model=descriptors[0], snapshot=descriptors[1]), listener or Listener())
            return outcome, b"" if outcome.update is None else _take(outcome.update)
        finally:
            close_all(descriptors)


def _take(descriptor: int) -> bytes:
    data = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    os.close(descriptor)
    return data
