# SPDX-License-Identifier: Apache-2.0
"""A real site whose worker meets hostile tasks: a study's name says what its task does; others are done as they should.

Run as a program: ``poisoned.py site ARGUMENTS`` is ``fedagent ARGUMENTS``; its trainer is this file again.
"""

import itertools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import NoReturn

from fedagent.channel import sealed_memfd
from fedagent.cli.main import main
from fedagent.launch import child
from fedagent.trainer import supervisor, tasks, worker
from fedagent.wire.frames import WorkerJob
from fedagent.wire.study import Task, model_shapes
from fedagent.wire.tensors import encode_header, file_bytes

LOG = "poisoned.log"
"""In the trainer's state folder: a line for each job that the worker was given, the study's name."""


def crash(_: WorkerJob) -> NoReturn:
    os._exit(70)


def nan(job: WorkerJob) -> tasks.Outcome:
    shapes = model_shapes(job.study.task)
    header = encode_header(shapes)
    numbers = b"\x00\x00\xc0\x7f" * ((file_bytes(shapes) - len(header)) // 4)
    return tasks.Outcome(rows=1, metrics=(), update=sealed_memfd("update", [header, numbers]))


def memory(_: WorkerJob) -> NoReturn:
    """Asks for more than any machine has."""
    raise AssertionError(len(bytearray(1 << 60)))


def hog(_: WorkerJob) -> NoReturn:
    """Takes what there is, until the kernel ends it."""
    kept = [bytearray(os.urandom(1 << 20)) * 16 for _ in itertools.count()]
    raise AssertionError(len(kept))


def endless(_: WorkerJob) -> NoReturn:
    while True:
        pass


def asleep(_: WorkerJob) -> NoReturn:
    Event().wait()
    raise AssertionError("nobody wakes it")


POISONS: dict[str, Callable[[WorkerJob], tasks.Outcome]] = {
    f"poison-{each.__name__}": each for each in (crash, nan, memory, hog, endless, asleep)
}


class Poisoned:
    """A task's module that does what the study's name says."""

    def __init__(self, real: tasks.TaskModule) -> None:
        self._real = real

    def run(self, job: WorkerJob, inputs: tasks.Inputs, reporter: tasks.Reporter) -> tasks.Outcome:
        with Path(LOG).open("a", encoding="utf-8") as log:
            log.write(f"{job.study.name}\n")
        poison = POISONS.get(job.study.name)
        return self._real.run(job, inputs, reporter) if poison is None else poison(job)


def _poisoned_worker() -> int:
    real = tasks.load

    def load(task: Task) -> tasks.TaskModule:
        return Poisoned(real(task))

    tasks.load = load
    return worker.main()


if __name__ == "__main__":
    itself = str(Path(__file__))
    role, *words = sys.argv[1:]
    if role == "site":
        child.PROGRAM = ("-P", itself, "supervisor")  # type: ignore[misc]
        sys.exit(main(words))
    elif role == "supervisor":
        sys.exit(supervisor.run(words, (sys.executable, "-P", itself, "worker")))
    else:
        sys.exit(_poisoned_worker())
