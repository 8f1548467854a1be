# SPDX-License-Identifier: Apache-2.0
"""A worker that does what its first argument says, well or badly; run as a program by a real supervisor.

``NAME-once`` misbehaves at the first job only. It writes each job that it gets as a line of ``jobs.log`` in its current
folder, the trainer's state.
"""

import json
import mmap
import os
import select
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

from fedagent.channel import FrameChannel, close_all, sealed_memfd
from fedagent.wire import frames
from fedagent.wire.messages import MetricValue, Reason, RoundKind
from fedagent.wire.study import model_shapes
from fedagent.wire.tensors import encode_header, file_bytes

VALUE = 0.5
BURN_STEP = 7
STILLBORN = 3
METRICS = (
    MetricValue(name="auc", value=0.875, count=40),
    MetricValue(name="accuracy", value=0.75, count=4),
    MetricValue(name="patient_17", value=1.0, count=40),
)


class OddWorker:
    """Each public method is a behaviour."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._channel = FrameChannel(connection)
        self._maps: list[mmap.mmap] = []
        behaviours = (
            *(self.obey, self.nan, self.mapped, self.unfit, self.patient, self.look, self.burn, self.deaf),
            *(self.family, self.crash, self.segfault, self.garbage, self.silent, self.starved, self.asleep),
            *(self.hang, self.repeat, self.full),
        )
        self._behaviours = {behaviour.__name__: behaviour for behaviour in behaviours}

    def serve(self, behaviour: str) -> None:
        name, _, once = behaviour.partition("-")
        while (received := self._channel.receive(frames.SupervisorToWorker)) is not None:
            frame, descriptors = received
            if isinstance(frame, frames.WorkerJob):
                with Path("jobs.log").open("a", encoding="utf-8") as log:
                    log.write(f"{frame.study.name} {frame.round} {Path(frame.checkpoint).name}\n")
                good = once and Path("misbehaved").exists()
                Path("misbehaved").touch()
                self._behaviours["obey" if good else name](frame)
            close_all(descriptors)

    def obey(self, job: frames.WorkerJob) -> None:
        self._done(job, _update(job, VALUE))

    def nan(self, job: frames.WorkerJob) -> None:
        self._done(job, _update(job, float("nan")))

    def mapped(self, job: frames.WorkerJob) -> None:
        """An update that its maker can still change: a writable mapping stays."""
        size = file_bytes(model_shapes(job.study.task))
        descriptor = os.memfd_create("raw", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(descriptor, size)
        self._maps.append(mmap.mmap(descriptor, size))
        self._done(job, descriptor)

    def unfit(self, _: frames.WorkerJob) -> None:
        """Names a condition that no table has."""
        text = "no row has the class 'yes'"
        self._channel.send(frames.WorkerFailed(reason=Reason.DATA_DOES_NOT_FIT, text=text, code="FA0000"))

    def patient(self, job: frames.WorkerJob) -> None:
        """Waits for a frame before it is done."""
        self._channel.send(frames.WorkerProgress(step=1, steps=2, checkpoint_step=0))
        self._channel.receive(frames.SupervisorToWorker)
        self.obey(job)

    def look(self, job: frames.WorkerJob) -> None:
        """Writes down what of the supervisor's can be seen from here."""
        links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink() and int(link.name) > 2]
        seen = {
            "files": {link.name: str(link.readlink()) for link in links if link.is_symlink()},
            "environment": dict(os.environ),
            "group": os.getpgid(0),
            "pid": os.getpid(),
        }
        Path("seen.json").write_text(json.dumps(seen), encoding="utf-8")
        self.obey(job)

    def burn(self, job: frames.WorkerJob) -> None:
        """Uses the CPU for ever, and says so; answers a wish for a checkpoint."""
        asked = select.poll()
        asked.register(self._channel.fileno(), select.POLLIN)
        step = 0
        while True:
            step += 1
            for _ in range(50_000):
                pass
            self._channel.send(frames.WorkerProgress(step=step, steps=10**6, checkpoint_step=0))
            if asked.poll(0):
                self._channel.receive(frames.SupervisorToWorker)
                self._channel.send(frames.WorkerCheckpointed(step=BURN_STEP))

    def deaf(self, job: frames.WorkerJob) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.burn(job)

    def family(self, job: frames.WorkerJob) -> None:
        grandchild = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
        Path("child.pid").write_text(str(grandchild.pid), encoding="ascii")
        self.burn(job)

    def crash(self, _: frames.WorkerJob) -> None:
        os._exit(70)

    def segfault(self, _: frames.WorkerJob) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)

    def garbage(self, _: frames.WorkerJob) -> None:
        self._connection.send(b"\xc1 garbage")
        signal.pause()

    def silent(self, _: frames.WorkerJob) -> None:
        self._channel.close()
        signal.pause()

    def starved(self, _: frames.WorkerJob) -> None:
        self._channel.send(frames.WorkerFailed(reason=Reason.OUT_OF_MEMORY, text="MemoryError"))
        signal.pause()

    def full(self, _: frames.WorkerJob) -> None:
        """Finds no room for what it must write, and ends."""
        self._channel.send(frames.WorkerFailed(reason=Reason.NO_SPACE, text="cannot write x"))
        sys.exit(1)

    def asleep(self, _: frames.WorkerJob) -> None:
        """Waits for what never comes, before its first step."""
        signal.pause()

    def hang(self, _: frames.WorkerJob) -> None:
        """Its second step never ends."""
        self._channel.send(frames.WorkerProgress(step=1, steps=2, checkpoint_step=0))
        while True:
            pass

    def repeat(self, _: frames.WorkerJob) -> None:
        """Says the same for ever."""
        while True:
            self._channel.send(frames.WorkerProgress(step=1, steps=2, checkpoint_step=0))
            select.poll().poll(100)

    def _done(self, job: frames.WorkerJob, update: int | None) -> None:
        rows = 40 if job.round_kind is RoundKind.TRAIN else 0
        descriptors = [] if update is None else [update]
        self._channel.send(frames.WorkerDone(rows=rows, metrics=METRICS), descriptors)
        close_all(descriptors)


def _update(job: frames.WorkerJob, value: float) -> int | None:
    if job.round_kind is not RoundKind.TRAIN:
        return None
    shapes = model_shapes(job.study.task)
    header = encode_header(shapes)
    return sealed_memfd("raw", [header, struct.pack("<f", value) * ((file_bytes(shapes) - len(header)) // 4)])


if __name__ == "__main__":
    if sys.argv[1] == "stillborn":
        sys.exit(STILLBORN)
    OddWorker(socket.socket(fileno=3)).serve(sys.argv[1])
