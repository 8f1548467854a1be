# SPDX-License-Identifier: Apache-2.0
"""The daemon's end of a supervisor's connection, blocking, with a limit on every wait."""

import os
import select
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Self, TypeVar

from fedagent.channel import FrameChannel, close_all
from fedagent.launch.child import start_child
from fedagent.wire import frames
from tests.fakes.clinic import Clinic, Order

TIMEOUT_S = 60.0

F = TypeVar("F", bound=frames.Frame)


class Connection:
    """A supervisor as a child; gone with its worker at the end of the block."""

    def __init__(self, clinic: Clinic) -> None:
        self.clinic = clinic
        connection, self.child = start_child(clinic.config)
        self.channel = FrameChannel(connection)
        self.ending: str | None = None
        self.worker = -1
        self.ready: frames.Ready

    def __enter__(self) -> Self:
        self.ready = self.expect(frames.Ready)
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self._forget_worker()

    def give(self, order: Order) -> None:
        job, path = self.clinic.job(order, self.ready.trainer_key)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            self.channel.send(job, [descriptor])
        finally:
            os.close(descriptor)

    def next(self, timeout_s: float = TIMEOUT_S) -> tuple[frames.SupervisorFrame, list[int]] | None:
        """The next frame; None where the supervisor ended. The worker's pidfd is kept, also of a later worker."""
        poll = select.poll()
        poll.register(self.channel.fileno(), select.POLLIN)
        assert poll.poll(timeout_s * 1000), "the supervisor says nothing"
        received = self.channel.receive(frames.SupervisorFrame)
        if received is not None and isinstance(received[0], frames.Ready):
            self._forget_worker()
            self.worker = received[1].pop(0)
            self.ready = received[0]
            close_all(received[1])
            return received[0], []
        return received

    def expect(self, kind: type[F]) -> F:
        """The next frame of this kind; progress and new workers are passed over, anything else fails."""
        frame, descriptors = self.expect_with(kind)
        close_all(descriptors)
        return frame

    def expect_with(self, kind: type[F]) -> tuple[F, list[int]]:
        while (received := self.next()) is not None:
            frame, descriptors = received
            if isinstance(frame, kind):
                return frame, descriptors
            close_all(descriptors)
            assert isinstance(frame, frames.JobProgress | frames.Ready), frame
        raise AssertionError(f"the supervisor ended without a {kind.__name__}")

    def expect_end(self) -> None:
        """Nothing but progress comes before the supervisor's end."""
        while (received := self.next()) is not None:
            close_all(received[1])
            assert isinstance(received[0], frames.JobProgress | frames.Ready), received[0]

    def end(self) -> str:
        """Closes the connection; returns how the supervisor ended."""
        self.channel.close()
        return self.wait_ended()

    def wait_ended(self) -> str:
        if self.ending is None:
            assert gone(self.child.pidfd), "the supervisor does not end"
            code = self.child.reap()
            self.ending = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        return self.ending

    def worker_gone(self) -> bool:
        return gone(self.worker)

    def kill_worker(self) -> None:
        signal.pidfd_send_signal(self.worker, signal.SIGKILL)

    def stop_worker(self) -> None:
        os.killpg(self.ready.worker_pid, signal.SIGSTOP)

    def _forget_worker(self) -> None:
        if self.worker >= 0:
            os.close(self.worker)
        self.worker = -1


def gone(pidfd: int, timeout_s: float = TIMEOUT_S) -> bool:
    """Whether the process ends in time."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(timeout_s * 1000))


def read_all(descriptors: Sequence[int]) -> bytes:
    """The bytes of the one descriptor, which is closed."""
    (descriptor,) = descriptors
    try:
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    finally:
        os.close(descriptor)


def program(behaviour: str) -> tuple[str, ...]:
    """For ``launch.child.PROGRAM``: the real supervisor with an odd worker."""
    return ("-P", str(Path(__file__).with_name("odd_supervisor.py")), behaviour)
