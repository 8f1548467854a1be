# SPDX-License-Identifier: Apache-2.0
"""The installed tasks: what each is called with, what it gives, and the module that has it.

Rule: a task's module is imported when its first job comes and not before, since torch costs 1.4 CPU seconds and
276 MiB and ``identity`` needs none of it. A new task is a class in ``wire/study.py``, a module here and a row below.
"""

import importlib
from typing import Final, Protocol, cast

import msgspec

from fedagent.conditions.condition import Said
from fedagent.errors import TrainerError
from fedagent.wire import study
from fedagent.wire.frames import WorkerJob
from fedagent.wire.messages import MetricValue, Reason


class TaskError(TrainerError):
    """This job cannot be done here, for a reason that another try does not change; never holds a patient's value."""

    def __init__(self, reason: Reason, said: Said) -> None:
        super().__init__(said)
        self.reason = reason


class Reporter(Protocol):
    """The supervisor, as a task sees it between two steps."""

    def checkpoint_asked(self) -> bool:
        """Whether somebody waits for ``checkpointed`` since the last call."""
        ...

    def checkpointed(self, step: int) -> None:
        """Says that the state of this step is durable."""
        ...

    def progress(self, *, step: int, steps: int, checkpoint_step: int, loss: float | None) -> None:
        """Says how far the job is; cheap enough for every step. ``steps`` is 0 where nobody knows it before."""
        ...


class Inputs(msgspec.Struct, frozen=True, kw_only=True):
    """Descriptors of what a job reads; the worker owns and closes them.

    Attributes:
        model: the global model, safetensors.
        snapshot: Parquet; None where the supervisor gave none.
    """

    model: int
    snapshot: int | None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a job gives.

    Attributes:
        rows: training rows, the update's weight.
        update: a memfd with local minus global, which the caller owns; None in an evaluation round.
    """

    rows: int
    metrics: tuple[MetricValue, ...]
    update: int | None


class TaskModule(Protocol):
    """A module of this folder."""

    def run(self, job: WorkerJob, inputs: Inputs, reporter: Reporter) -> Outcome:
        """Trains or evaluates to the end.

        Raises:
            TaskError: the data or the model do not allow it.
        """
        ...


_MODULES: Final[dict[type[study.Task], str]] = {
    study.TabularClassifier: "fedagent.trainer.tasks.tabular",
    study.Identity: "fedagent.trainer.tasks.identity",
}


def load(task: study.Task) -> TaskModule:
    """The module that does this task: the one dynamic import of the program."""
    return cast("TaskModule", importlib.import_module(_MODULES[type(task)]))
