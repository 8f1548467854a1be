# SPDX-License-Identifier: Apache-2.0
"""``python -m fedagent.trainer.worker``: does one job after another for the supervisor at descriptor 3.

Rule: one thread (besides torch's own), no socket but that one, and what it says of a failure is its kind and place:
never a message that could quote a patient's row. Ends when the supervisor does.
"""

import select
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import Final, assert_never

from fedagent import trainer
from fedagent.channel import FrameChannel, close_all
from fedagent.conditions.condition import Said
from fedagent.conditions.trainer import (
    JOB_WITHOUT_MODEL,
    SUPERVISOR_BROKE_PROTOCOL,
    TRAINING_BROKE,
    TRAINING_NEEDS_MEMORY,
)
from fedagent.errors import FedagentError, NoSpaceError, TrainerError
from fedagent.storage.files import FULL
from fedagent.trainer import tasks
from fedagent.wire.frames import (
    CheckpointNow,
    SupervisorToWorker,
    WorkerCheckpointed,
    WorkerDone,
    WorkerFailed,
    WorkerJob,
    WorkerProgress,
)
from fedagent.wire.messages import Reason
from fedagent.wire.values import TEXT_CHARACTERS

CHANNEL_DESCRIPTOR: Final = 3
PROGRESS_EVERY_S: Final = 1.0


class SupervisorReporter:
    """The supervisor, as a task sees it between two steps (``tasks.Reporter``)."""

    def __init__(self, channel: FrameChannel) -> None:
        self._channel = channel
        self._readable = select.poll()
        self._readable.register(channel.fileno(), select.POLLIN)
        self._next_at, self._checkpoint_step = 0.0, 0

    def checkpoint_asked(self) -> bool:
        """Whether a ``CheckpointNow`` came since the last call.

        Raises:
            ConnectionError: the supervisor is gone.
            TrainerError: it sent anything else.
        """
        asked = False
        while self._readable.poll(0):
            received = self._channel.receive(SupervisorToWorker)
            if received is None:
                raise ConnectionResetError
            if not isinstance(received[0], CheckpointNow):
                raise TrainerError(SUPERVISOR_BROKE_PROTOCOL(frame=type(received[0]).__name__))
            asked = True
        return asked

    def checkpointed(self, step: int) -> None:
        """Answers ``CheckpointNow``."""
        self._channel.send(WorkerCheckpointed(step=step))

    def progress(self, *, step: int, steps: int, checkpoint_step: int, loss: float | None) -> None:
        """Sends it where the last is a second old, or a checkpoint was written since."""
        now = time.monotonic()
        if now < self._next_at and checkpoint_step == self._checkpoint_step:
            return
        self._next_at, self._checkpoint_step = now + PROGRESS_EVERY_S, checkpoint_step
        self._channel.send(WorkerProgress(step=step, steps=steps, checkpoint_step=checkpoint_step, loss=loss))


def serve(channel: FrameChannel) -> None:
    """Does what the supervisor sends until it is gone."""
    while (received := channel.receive(SupervisorToWorker)) is not None:
        frame, descriptors = received
        match frame:
            case WorkerJob():
                try:
                    _do(frame, descriptors, channel)
                finally:
                    close_all(descriptors)
            case CheckpointNow():
                channel.send(WorkerCheckpointed(step=0))  # no job is under way: nothing to keep
            case _:
                assert_never(frame)


def _do(job: WorkerJob, descriptors: list[int], channel: FrameChannel) -> None:
    if not descriptors:
        raise TrainerError(JOB_WITHOUT_MODEL())
    inputs = tasks.Inputs(model=descriptors[0], snapshot=descriptors[1] if len(descriptors) > 1 else None)
    try:
        outcome = tasks.load(job.study.task).run(job, inputs, SupervisorReporter(channel))
    except tasks.TaskError as error:
        channel.send(failed_by(error.reason, error.said))
        return
    update = [] if outcome.update is None else [outcome.update]
    try:
        channel.send(WorkerDone(rows=outcome.rows, metrics=outcome.metrics), update)
    finally:
        close_all(update)


def failed_by(reason: Reason, said: Said) -> WorkerFailed:
    """The frame that tells it."""
    return WorkerFailed(reason=reason, text=said.text[:TEXT_CHARACTERS], code=said.code)


def describe(error: Exception) -> Said:
    """What failed and where. Our own errors hold no data by their rule; another's message is not repeated."""
    if isinstance(error, FedagentError):
        return error.said
    ours = Path(trainer.__file__).parents[1]
    places = [
        each for each in traceback.extract_tb(error.__traceback__) if ours in Path(each.filename).parents
    ]
    where = f"{Path(places[-1].filename).relative_to(ours)}:{places[-1].lineno}" if places else "?"
    broke = TRAINING_NEEDS_MEMORY if reason_of(error) is Reason.OUT_OF_MEMORY else TRAINING_BROKE
    return broke(kind=type(error).__name__, where=where)


def reason_of(error: Exception) -> Reason:
    """What the failure of a whole worker is called."""
    # torch's own class for a GPU; its CPU allocator raises a plain RuntimeError (c10/core/impl/alloc_cpu.cpp).
    full = isinstance(error, OSError) and error.errno in FULL
    if full or isinstance(error, NoSpaceError):
        return Reason.NO_SPACE
    lacking = isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__
    return Reason.OUT_OF_MEMORY if lacking or "DefaultCPUAllocator" in str(error) else Reason.CRASHED


def main() -> int:
    """Exit code 0: the supervisor is gone; 1: this worker must not go on."""
    channel = FrameChannel(socket.socket(fileno=CHANNEL_DESCRIPTOR))
    try:
        serve(channel)
    except ConnectionError:
        return 0
    except Exception as error:  # noqa: BLE001 (one of two in the program: report, and end)
        channel.send(failed_by(reason_of(error), describe(error)))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
