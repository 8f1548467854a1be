# SPDX-License-Identifier: Apache-2.0
"""A real worker as a child, and the supervisor's end of its channel."""

import os
import select
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from fedagent.channel import FrameChannel, close_all, sealed_memfd
from fedagent.trainer.tensor_file import Tensors, tensor_chunks
from fedagent.wire.frames import Frame, WorkerFrame, WorkerJob

TIMEOUT_S = 60.0


class WorkerChild:
    """``python -m fedagent.trainer.worker``; killed and reaped at the end of the block."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.channel = FrameChannel(ours)
        self.exit_code: int | None = None
        self.pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-P", "-m", "fedagent.trainer.worker"],
            {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **(environment or {})},
            file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), 3)],
        )
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.channel.close()
        if self.exit_code is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()

    def give(self, job: WorkerJob, model: Tensors, snapshot: Path | None = None) -> None:
        descriptors = [sealed_memfd("model", tensor_chunks(model))]
        if snapshot is not None:
            descriptors.append(os.open(snapshot, os.O_RDONLY))
        try:
            self.channel.send(job, descriptors)
        finally:
            close_all(descriptors)

    def next(self) -> tuple[Any, bytes | None] | None:
        """The next frame with its descriptor's bytes; None where the worker ended."""
        poll = select.poll()
        poll.register(self.channel.fileno(), select.POLLIN)
        assert poll.poll(TIMEOUT_S * 1000), "the worker says nothing"
        received = self.channel.receive(WorkerFrame)
        if received is None:
            return None
        frame, descriptors = received
        data = b"".join(_read(descriptor) for descriptor in descriptors) if descriptors else None
        close_all(descriptors)
        return frame, data

    def until(self, kind: type[Frame]) -> tuple[Any, bytes | None]:
        """The next frame of this kind, others left out."""
        while (received := self.next()) is not None:
            if isinstance(received[0], kind):
                return received
        raise AssertionError(f"the worker ended without a {kind.__name__}")

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def wait(self) -> int:
        """Its exit code, or the signal's number below zero."""
        self.exit_code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.exit_code


def _read(descriptor: int) -> bytes:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)
