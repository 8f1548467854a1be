# SPDX-License-Identifier: Apache-2.0
import re
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from fedagent.channel import FrameChannel
from fedagent.conditions.files import NO_SPACE
from fedagent.conditions.trainer import JOB_WITHOUT_MODEL, SUPERVISOR_BROKE_PROTOCOL, TRAINING_BROKE
from fedagent.errors import StorageError
from fedagent.trainer.worker import SupervisorReporter, describe, failed_by, reason_of
from fedagent.wire import study as s
from fedagent.wire.frames import (
    CheckpointNow,
    WorkerCheckpointed,
    WorkerDone,
    WorkerFailed,
    WorkerJob,
    WorkerProgress,
)
from fedagent.wire.messages import Reason, RoundKind
from tests.fakes.tables import make_columns, make_model, make_study, make_task, write_snapshot
from tests.fakes.worker import WorkerChild


def job_of(folder: Path, task: s.Task, *, snapshot: bytes | None = bytes(32)) -> WorkerJob:
    return WorkerJob(
        study=make_study(task),
        round=1,
        round_kind=RoundKind.TRAIN,
        site="clinic-a",
        model=bytes(32),
        snapshot=snapshot,
        checkpoint=str(folder / "checkpoint"),
        checkpoint_every_s=30.0,
        threads=1,
    )


# --- a real child -----------------------------------------------------------------------------------------------------


def test_an_identity_job_loads_neither_torch_nor_numpy(tmp_path: Path) -> None:
    task = s.Identity(parameters=1000)
    with WorkerChild() as worker:
        worker.give(job_of(tmp_path, task, snapshot=None), make_model(task))
        done, update = worker.until(WorkerDone)
        mapped = Path(f"/proc/{worker.pid}/maps").read_text()
    assert done == WorkerDone(rows=1, metrics=())
    assert update is not None
    assert "torch" not in mapped
    assert "numpy" not in mapped


def test_one_job_follows_the_other_and_a_failed_one_ends_nothing(tmp_path: Path) -> None:
    task = make_task()
    snapshot = write_snapshot(tmp_path / "rows.parquet", make_columns())
    lacking = make_task(columns=(s.Numeric(name="troponin"),))
    with WorkerChild() as worker:
        worker.give(job_of(tmp_path, lacking), make_model(lacking), snapshot)
        failed, _ = worker.until(WorkerFailed)
        assert failed.reason is Reason.DATA_DOES_NOT_FIT
        worker.give(job_of(tmp_path, task), make_model(task), snapshot)
        first = worker.until(WorkerDone)
        worker.give(job_of(tmp_path, task), make_model(task), snapshot)
        assert worker.until(WorkerDone) == first
        worker.channel.send(CheckpointNow())
        worker.until(WorkerCheckpointed)  # so the last job is behind it
        open_files = {path.readlink().name for path in Path(f"/proc/{worker.pid}/fd").iterdir()}
    assert not {name for name in open_files if "memfd" in name or "parquet" in name}


def test_the_worker_ends_with_the_supervisor_in_the_midst_of_a_job(tmp_path: Path) -> None:
    task = make_task(work=s.Steps(amount=10_000_000))
    snapshot = write_snapshot(tmp_path / "rows.parquet", make_columns())
    with WorkerChild() as worker:
        worker.give(job_of(tmp_path, task), make_model(task), snapshot)
        worker.until(WorkerProgress)
        worker.channel.close()
        assert worker.wait() == 0


def test_an_idle_worker_has_nothing_to_keep_and_ends_with_the_supervisor() -> None:
    with WorkerChild() as worker:
        worker.channel.send(CheckpointNow())
        assert worker.next() == (WorkerCheckpointed(step=0), None)
        worker.channel.close()
        assert worker.wait() == 0


def test_a_crash_is_reported_and_ends_the_worker(tmp_path: Path) -> None:
    with WorkerChild() as worker:
        worker.channel.send(job_of(tmp_path, make_task()))
        failed, _ = worker.until(WorkerFailed)
        said = JOB_WITHOUT_MODEL()
        assert failed == WorkerFailed(reason=Reason.CRASHED, text=said.text, code=said.code)
        assert worker.next() is None
        assert worker.wait() == 1


def test_a_second_job_during_a_job_breaks_the_protocol(tmp_path: Path) -> None:
    task = make_task(work=s.Steps(amount=10_000_000))
    snapshot = write_snapshot(tmp_path / "rows.parquet", make_columns())
    with WorkerChild() as worker:
        worker.give(job_of(tmp_path, task), make_model(task), snapshot)
        worker.until(WorkerProgress)
        worker.give(job_of(tmp_path, task), make_model(task), snapshot)
        failed, _ = worker.until(WorkerFailed)
        assert failed.text == SUPERVISOR_BROKE_PROTOCOL(frame="WorkerJob").text
        assert worker.wait() == 1


def test_torch_is_not_imported_before_a_job_needs_it() -> None:
    program = "import sys, fedagent.trainer.worker; print({'torch', 'numpy'} & set(sys.modules))"
    path = {"PYTHONPATH": ":".join(sys.path)}
    assert subprocess.check_output([sys.executable, "-c", program], env=path, text=True).strip() == "set()"


# --- what it says -----------------------------------------------------------------------------------------------------


def test_a_foreign_errors_text_is_not_repeated() -> None:
    def fail() -> None:
        msgspec.msgpack.decode(b"patient 4711", type=str)

    with pytest.raises(msgspec.MsgspecError) as caught:
        fail()
    assert describe(caught.value) == TRAINING_BROKE(kind="ValidationError", where="?")


def test_an_error_in_our_code_is_placed() -> None:
    with pytest.raises(AttributeError) as caught:
        SupervisorReporter(None)  # type: ignore[arg-type]
    assert re.match(
        r"the training ended with AttributeError at trainer/worker\.py:\d+; ", describe(caught.value).text
    )


def test_our_own_errors_are_told() -> None:
    said = NO_SPACE(path="x", reason="no space left")
    assert describe(StorageError(said)) == said


def test_what_it_says_is_cut_to_what_a_frame_holds() -> None:
    failed = failed_by(Reason.CRASHED, SUPERVISOR_BROKE_PROTOCOL(frame="x" * 1000))
    assert len(failed.text) == 500


def test_a_lack_of_memory_is_told_from_a_crash() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 50, dtype=torch.uint8)
    assert reason_of(caught.value) is Reason.OUT_OF_MEMORY
    with pytest.raises(MemoryError) as caught_too:
        bytearray(1 << 60)
    assert reason_of(caught_too.value) is Reason.OUT_OF_MEMORY
    assert reason_of(torch.OutOfMemoryError("CUDA out of memory")) is Reason.OUT_OF_MEMORY
    assert reason_of(RuntimeError("shapes cannot be multiplied")) is Reason.CRASHED


def test_progress_is_told_at_once_then_rarely_but_after_each_checkpoint() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        reporter = SupervisorReporter(FrameChannel(theirs))
        for step, kept in ((0, 0), (1, 0), (2, 2), (3, 2)):
            reporter.progress(step=step, steps=9, checkpoint_step=kept, loss=0.5)
        ours.setblocking(False)
        channel = FrameChannel(ours)
        received = [channel.receive(WorkerProgress) for _ in range(2)]
        assert [frame[0].step for frame in received if frame] == [0, 2]
        with pytest.raises(BlockingIOError):
            channel.receive(WorkerProgress)


def test_a_request_is_heard_once() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        reporter = SupervisorReporter(FrameChannel(theirs))
        assert not reporter.checkpoint_asked()
        FrameChannel(ours).send(CheckpointNow())
        assert reporter.checkpoint_asked()
        assert not reporter.checkpoint_asked()
        ours.close()
        with pytest.raises(ConnectionError):
            reporter.checkpoint_asked()
