# SPDX-License-Identifier: Apache-2.0
"""``tabular-classifier``: one site's part in one round, read top to bottom.

Rule: the same study, round, site, snapshot, model and threads give the same bytes, on the same build and CPU
capability, however often the work was killed and resumed. The checkpoint's file is removed by the supervisor once the
update is sealed, not here: until then it is what a lost update is made from again.
"""

import logging
import time
from pathlib import Path
from typing import Final

import numpy as np
import torch

from fedagent.channel import sealed_memfd
from fedagent.conditions.trainer import CHECKPOINT_FINDS_NO_ROOM, JOB_WITHOUT_DATA, TOO_FEW_ROWS
from fedagent.errors import DataError, NoSpaceError
from fedagent.journal import tell
from fedagent.trainer import checkpoint
from fedagent.trainer.checkpoint import Checkpoint, CheckpointIdentity, CheckpointState
from fedagent.trainer.rows import read_columns
from fedagent.trainer.tasks import Inputs, Outcome, Reporter, TaskError, metrics, preparation
from fedagent.trainer.tasks.preparation import Rows, Selection
from fedagent.trainer.tasks.training import Network, Training, configure, seed_of, tabular_task
from fedagent.trainer.tensor_file import Tensors, read_tensors, tensor_chunks
from fedagent.wire.frames import WorkerJob
from fedagent.wire.messages import MetricValue, Reason, RoundKind
from fedagent.wire.study import Study, TabularClassifier, study_digest

_log: Final = logging.getLogger(__name__)


def run(job: WorkerJob, inputs: Inputs, reporter: Reporter) -> Outcome:
    """Evaluates the received model on the test rows and, in a training round, trains it on the others.

    Raises:
        TaskError: data that do not fit, too few patients, or numbers that are not finite.
        StorageError: a checkpoint cannot be written or read.
    """
    if job.snapshot is None or inputs.snapshot is None:
        raise TaskError(Reason.NO_DATASET, JOB_WITHOUT_DATA())
    identity, trains = identity_of(job, job.snapshot), job.round_kind is RoundKind.TRAIN
    kept = checkpoint.load(Path(job.checkpoint), identity)
    threads = kept.state.threads if kept else job.threads  # else the rest of the work would round otherwise
    configure(threads)
    selection = read_selection(tabular_task(job.study), inputs.snapshot)
    if trains or preparation.reads_training_rows(tabular_task(job.study)):
        require_training_rows(job.study, selection)
    rows, model = len(selection.train.labels), read_tensors(inputs.model)
    train, test = prepare(job.study, selection)
    measured = evaluate(job.study, model, test, patients=selection.test.patients)
    if not trains:
        return Outcome(rows=rows, metrics=measured, update=None)
    training = Training(job.study, model, train, seed_of(job.study, job.round, job.site))
    if kept:
        state = kept.state
        training.restore(kept.tensors, step=state.step, elapsed_s=state.elapsed_s, loss_sum=state.loss_sum)
    _train(training, Keeper(job, identity, threads), reporter)
    loss = MetricValue(name="training_loss", value=training.loss_sum / training.step, count=rows)
    update = sealed_memfd("update", tensor_chunks(training.update()))
    return Outcome(rows=rows, metrics=(*measured, loss), update=update)


def identity_of(job: WorkerJob, snapshot: bytes) -> CheckpointIdentity:
    """What the job's every bit depends on."""
    return CheckpointIdentity(
        study=study_digest(job.study),
        round=job.round,
        site=job.site,
        model=job.model,
        snapshot=snapshot,
        build=f"torch {torch.__version__}, numpy {np.__version__}",
        cpu=torch.backends.cpu.get_cpu_capability(),
    )


# --- rows -------------------------------------------------------------------------------------------------------


def read_selection(task: TabularClassifier, snapshot: int) -> Selection:
    """The rows of the snapshot that count.

    Args:
        snapshot: descriptor of the Parquet file.

    Raises:
        TaskError: it cannot be read, or a column is missing or of another type.
    """
    try:
        table = read_columns(f"/proc/self/fd/{snapshot}", preparation.columns_needed(task))
    except DataError as error:
        raise TaskError(Reason.DATA_DOES_NOT_FIT, error.said) from error
    return preparation.select(task, table)


def require_training_rows(study: Study, selection: Selection) -> None:
    """Nothing, where enough patients have training rows.

    Raises:
        TaskError: they are fewer than the study's minimum cell.
    """
    if selection.train.patients < study.privacy.minimum_cell:  # not how many: that number may identify them
        raise TaskError(Reason.TOO_FEW_ROWS, TOO_FEW_ROWS(minimum=study.privacy.minimum_cell))


def prepare(study: Study, selection: Selection) -> tuple[Rows, Rows]:
    """Training and test rows as the network reads them, both by the training rows' statistics."""
    task = tabular_task(study)
    statistics = preparation.fit(task, selection.train)
    return (
        preparation.transform(task, selection.train, statistics),
        preparation.transform(task, selection.test, statistics),
    )


def evaluate(study: Study, model: Tensors, test: Rows, *, patients: int) -> tuple[MetricValue, ...]:
    """The model's metrics on the test rows; none where they are of fewer patients than the study's minimum cell.

    Raises:
        TaskError: the model is not of this task, or its outputs are not finite.
    """
    task = tabular_task(study)
    network = Network(task, model)
    if patients < study.privacy.minimum_cell:
        return ()
    return metrics.evaluate(network.outputs(test), test.labels, len(task.label.classes))


# --- the loop ---------------------------------------------------------------------------------------------------


class Keeper:
    """Writes a training's checkpoints."""

    def __init__(self, job: WorkerJob, identity: CheckpointIdentity, threads: int) -> None:
        self._path, self._every_s = Path(job.checkpoint), job.checkpoint_every_s
        self._identity, self._threads = identity, threads
        self._saved_at = time.monotonic()
        self._full = False

    @property
    def due(self) -> bool:
        """Whether the last one is as old as it may be."""
        return time.monotonic() - self._saved_at >= self._every_s

    def save(self, training: Training) -> bool:
        """Whether what was done up to here is durable; on a full disk the checkpoint before stays, and is said once.

        Raises:
            StorageError: no permission.
        """
        state = CheckpointState(
            identity=self._identity,
            step=training.step,
            elapsed_s=training.elapsed_s,
            loss_sum=training.loss_sum,
            threads=self._threads,
        )
        try:
            checkpoint.save(self._path, Checkpoint(state, training.tensors()))
        except NoSpaceError as error:
            if not self._full:
                tell(_log, CHECKPOINT_FINDS_NO_ROOM(reason=error))
            self._full = True
        else:
            self._full = False
        self._saved_at = time.monotonic()
        return not self._full


def _train(training: Training, keeper: Keeper, reporter: Reporter) -> None:
    """The one training loop."""
    kept_step = training.step
    while not training.done:
        reporter.progress(
            step=training.step, steps=training.steps, checkpoint_step=kept_step, loss=training.mean_loss
        )
        training.advance()
        asked = reporter.checkpoint_asked()
        if (asked or keeper.due) and keeper.save(training):
            kept_step = training.step
        if (
            asked and kept_step == training.step
        ):  # else who asked waits no longer than it would for a stuck worker
            reporter.checkpointed(kept_step)
