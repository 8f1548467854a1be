# SPDX-License-Identifier: Apache-2.0
import os
import tracemalloc

import msgspec
import numpy as np
import pytest

from fedagent.trainer.tasks import Inputs, Outcome
from fedagent.trainer.tasks.identity import run
from fedagent.trainer.tensor_file import Tensors, read_tensors
from fedagent.wire import study as s
from fedagent.wire.frames import WorkerJob
from fedagent.wire.messages import RoundKind
from fedagent.wire.tensors import encode_header
from tests.fakes.listener import Listener
from tests.fakes.tables import make_study

NOTHING = Inputs(model=-1, snapshot=None)


def job_of(task: s.Identity, kind: RoundKind = RoundKind.TRAIN) -> WorkerJob:
    return WorkerJob(
        study=make_study(task),
        round=1,
        round_kind=kind,
        site="clinic-a",
        model=bytes(32),
        snapshot=None,
        checkpoint="nowhere",
        checkpoint_every_s=30.0,
        threads=1,
    )


def take(outcome: Outcome) -> Tensors:
    assert outcome.update is not None
    try:
        return read_tensors(outcome.update)
    finally:
        os.close(outcome.update)


@pytest.mark.parametrize(("parameters", "tensors"), [(1, 1), (7, 3), (262_144, 2), (1_000_003, 5)])
def test_every_parameter_grows_by_the_increment(parameters: int, tensors: int) -> None:
    task = s.Identity(parameters=parameters, tensors=tensors, increment=-0.25)
    update = take(run(job_of(task), NOTHING, Listener()))
    assert {name: tensor.shape for name, tensor in update.items()} == s.model_shapes(task)
    assert sum(tensor.size for tensor in update.values()) == parameters
    assert all(np.all(tensor == -0.25) for tensor in update.values())


def test_the_file_begins_as_every_update_does() -> None:
    task = s.Identity(parameters=100, tensors=3)
    outcome = run(job_of(task), NOTHING, Listener())
    assert outcome.update is not None
    header = encode_header(s.model_shapes(task))
    assert os.pread(outcome.update, len(header), 0) == header
    os.close(outcome.update)


def test_it_counts_as_one_row_and_tells_no_metric() -> None:
    outcome = run(job_of(s.Identity(parameters=10)), NOTHING, Listener())
    take(outcome)
    assert (outcome.rows, outcome.metrics) == (1, ())


def test_an_evaluation_round_gives_no_update() -> None:
    assert run(job_of(s.Identity(parameters=10), RoundKind.EVALUATE), NOTHING, Listener()).update is None


def test_memory_does_not_grow_with_the_model() -> None:
    tracemalloc.start()
    try:
        outcome = run(job_of(s.Identity(parameters=16_000_000)), NOTHING, Listener())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert outcome.update is not None
    assert os.fstat(outcome.update).st_size > 64_000_000
    os.close(outcome.update)
    assert peak < 4_000_000


def test_a_checkpoint_request_is_answered_between_blocks() -> None:
    listener = Listener(ask_at=(2,))
    take(run(job_of(s.Identity(parameters=1_000_000)), NOTHING, listener))
    assert listener.checkpoints == [0]
    assert [heard[0] for heard in listener.heard] == [0, 1, 2]


def test_the_same_job_gives_the_same_bytes_at_every_site() -> None:
    job = job_of(s.Identity(parameters=50, tensors=2))
    one, other = (
        take(run(each, NOTHING, Listener())) for each in (job, msgspec.structs.replace(job, site="clinic-b"))
    )
    assert {name: t.tobytes() for name, t in one.items()} == {name: t.tobytes() for name, t in other.items()}
