# SPDX-License-Identifier: Apache-2.0
"""``identity``: the model plus a constant, whatever its size; measures everything but the training.

Rule: reads no patient data and no model, needs no library, and holds one block of the update at a time.
"""

import struct
from collections.abc import Iterator
from typing import Final

from fedagent.channel import sealed_memfd
from fedagent.conditions.trainer import OTHER_TASK
from fedagent.errors import TrainerError
from fedagent.trainer.tasks import Inputs, Outcome, Reporter
from fedagent.wire.frames import WorkerJob
from fedagent.wire.messages import RoundKind
from fedagent.wire.study import Identity, model_shapes
from fedagent.wire.tensors import FLOAT_BYTES, encode_header, file_bytes

BLOCK_BYTES: Final = 1_048_576


def run(job: WorkerJob, inputs: Inputs, reporter: Reporter) -> Outcome:  # noqa: ARG001 (it reads none of them)
    """An update in which every parameter is the study's ``increment``; weight 1, no metrics."""
    task = job.study.task
    if not isinstance(task, Identity):
        raise TrainerError(OTHER_TASK(study=job.study.name, task=type(task).__name__))
    if job.round_kind is not RoundKind.TRAIN:
        return Outcome(rows=1, metrics=(), update=None)
    return Outcome(rows=1, metrics=(), update=sealed_memfd("update", _chunks(task, reporter)))


def _chunks(task: Identity, reporter: Reporter) -> Iterator[bytes]:
    shapes = model_shapes(task)
    header = encode_header(shapes)
    yield header
    block = struct.pack("<f", task.increment) * (BLOCK_BYTES // FLOAT_BYTES)
    blocks, rest = divmod(file_bytes(shapes) - len(header), BLOCK_BYTES)
    for index in range(blocks):
        reporter.progress(step=index, steps=blocks, checkpoint_step=0, loss=None)
        if reporter.checkpoint_asked():
            reporter.checkpointed(0)  # nothing to keep: all of it is made again in a moment
        yield block
    yield block[:rest]
