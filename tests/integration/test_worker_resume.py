# SPDX-License-Identifier: Apache-2.0
"""A real worker, killed wherever it hurts and started again, gives the very bytes of one that nobody disturbed."""

from pathlib import Path

import pytest

from fedagent.storage.failpoints import ENVIRONMENT, Failpoint
from fedagent.wire import study as s
from fedagent.wire.frames import CheckpointNow, WorkerCheckpointed, WorkerDone, WorkerJob, WorkerProgress
from fedagent.wire.messages import RoundKind
from tests.fakes.tables import make_columns, make_model, make_study, make_task, write_snapshot
from tests.fakes.worker import WorkerChild

STEPS = 60
OPTIMIZERS = {
    "momentum": s.Sgd(learning_rate=0.1, momentum=0.9),
    "adam": s.Adam(learning_rate=0.01, weight_decay=0.01),
}


class Round:
    """One site's work in one round, that any worker may take up."""

    def __init__(self, folder: Path, optimizer: str, *, steps: int = STEPS, every_s: float = 1e-9) -> None:
        folder.mkdir()
        self.task = make_task(hidden=(8,), optimizer=OPTIMIZERS[optimizer], work=s.Steps(amount=steps))
        self.snapshot = write_snapshot(folder / "rows.parquet", make_columns())
        self.checkpoint = folder / "checkpoint"
        self.job = WorkerJob(
            study=make_study(self.task, aggregation=s.FedProx(proximal=0.1)),
            round=4,
            round_kind=RoundKind.TRAIN,
            site="clinic-a",
            model=bytes(32),
            snapshot=bytes(32),
            checkpoint=str(self.checkpoint),
            checkpoint_every_s=every_s,
            threads=2,
        )

    def give(self, worker: WorkerChild) -> None:
        worker.give(self.job, make_model(self.task), self.snapshot)

    def finish(self) -> tuple[WorkerDone, bytes | None]:
        with WorkerChild() as worker:
            self.give(worker)
            return worker.until(WorkerDone)

    def die_at(self, failpoint: str) -> None:
        with WorkerChild({ENVIRONMENT: failpoint}) as worker:
            self.give(worker)
            while worker.next() is not None:
                pass
            assert worker.wait() == -9


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[WorkerDone, bytes | None]]:
    folder = tmp_path_factory.mktemp("undisturbed")
    return {name: Round(folder / name, name, every_s=30.0).finish() for name in OPTIMIZERS}


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(
    "deaths",
    [
        pytest.param([f"{Failpoint.FILE_BEFORE_RENAME}:1"], id="before there is any checkpoint"),
        pytest.param([f"{Failpoint.CHECKPOINT_WRITTEN}:1"], id="after the first step"),
        pytest.param(
            [f"{Failpoint.FILE_BEFORE_RENAME}:13", f"{Failpoint.CHECKPOINT_WRITTEN}:27"], id="twice"
        ),
        pytest.param([f"{Failpoint.CHECKPOINT_WRITTEN}:{STEPS}"], id="after the last step"),
    ],
)
def test_a_killed_worker_resumes_bit_for_bit(
    tmp_path: Path,
    undisturbed: dict[str, tuple[WorkerDone, bytes | None]],
    optimizer: str,
    deaths: list[str],
) -> None:
    work = Round(tmp_path / "work", optimizer)
    for failpoint in deaths:
        work.die_at(failpoint)
    assert work.finish() == undisturbed[optimizer]


@pytest.mark.slow
def test_a_worker_that_was_asked_to_leave_resumes_bit_for_bit(
    tmp_path: Path, undisturbed: dict[str, tuple[WorkerDone, bytes | None]]
) -> None:
    work = Round(tmp_path / "work", "adam", every_s=30.0)
    with WorkerChild() as worker:
        work.give(worker)
        worker.channel.send(CheckpointNow())
        kept, _ = worker.until(WorkerCheckpointed)
        worker.kill()
    assert kept.step == 1
    assert work.checkpoint.exists()
    assert work.finish() == undisturbed["adam"]


@pytest.mark.slow
def test_a_worker_killed_at_any_moment_loses_at_most_what_it_did_since_its_checkpoint(tmp_path: Path) -> None:
    whole = Round(tmp_path / "whole", "momentum", steps=3000, every_s=30.0).finish()
    work = Round(tmp_path / "work", "momentum", steps=3000, every_s=0.05)
    kept = 0
    for _ in range(3):
        with WorkerChild() as worker:
            work.give(worker)
            while (received := worker.next()) is not None:
                frame = received[0]
                assert not isinstance(frame, WorkerDone)
                if isinstance(frame, WorkerProgress) and frame.checkpoint_step > kept:
                    kept = frame.checkpoint_step
                    break
            worker.kill()
    assert kept > 0
    assert work.finish() == whole
