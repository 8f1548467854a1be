# SPDX-License-Identifier: Apache-2.0
"""Supervisor, real worker and snapshot together: what is vacated in the middle gives the very bytes of what was not."""

import hashlib
import os
from pathlib import Path

import msgspec
import pytest

from fedagent.trainer.snapshots import SnapshotNote, SnapshotStore
from fedagent.wire import frames
from fedagent.wire import study as s
from fedagent.wire.messages import RoundKind, UpdateSecret
from tests.fakes.clinic import Clinic
from tests.fakes.connection import Connection, read_all
from tests.fakes.tables import make_columns, make_study, make_task, write_snapshot

STEPS = 4000
STUDY = make_study(make_task(hidden=(16,), work=s.Steps(amount=STEPS), batch_size=16), chunk_bytes=65_536)


@pytest.fixture
def clinic(tmp_path: Path) -> Clinic:
    """A site that has a snapshot and an approval."""
    return made(tmp_path)


def made(folder: Path) -> Clinic:
    clinic = Clinic(folder)
    clinic.approve(STUDY)
    clinic.state.mkdir(mode=0o700)
    table = write_snapshot(clinic.state / "table.parquet", make_columns())
    digest = hashlib.sha256(table.read_bytes()).digest()
    note = SnapshotNote(
        rows=120,
        patients=120,
        columns=(),
        created_at="2026-01-01T00:00:00+00:00",
        sources=("csv",),
        definition="0" * 64,
    )
    SnapshotStore(clinic.state / "snapshots").put("cardiology", digest, table=table, note=note)
    return clinic


def send(connection: Connection, job: frames.Job, model: Path) -> None:
    descriptor = os.open(model, os.O_RDONLY)
    connection.channel.send(job, [descriptor])
    os.close(descriptor)


def result(connection: Connection) -> tuple[UpdateSecret, bytes]:
    sealed, descriptors = connection.expect_with(frames.JobSealed)
    return connection.clinic.open_update(sealed, read_all(descriptors))


@pytest.mark.slow
def test_a_vacated_training_goes_on_bit_for_bit_in_the_next_trainer(tmp_path: Path) -> None:
    (tmp_path / "calm").mkdir()
    with Connection(made(tmp_path / "calm")) as connection:
        connection.give(connection.clinic.order(STUDY))
        undisturbed, expected = result(connection)

    (tmp_path / "busy").mkdir()
    clinic = made(tmp_path / "busy")
    with Connection(clinic) as connection:
        job, model = clinic.job(clinic.order(STUDY), connection.ready.trainer_key)
        send(connection, job, model)
        connection.expect(frames.JobProgress)
        connection.channel.send(frames.CheckpointNow())
        done = connection.expect(frames.CheckpointDone)
        assert 0 < done.step < STEPS
        connection.kill_worker()
        connection.expect_end()
    with Connection(clinic) as connection:
        send(connection, job, model)
        assert connection.expect(frames.JobProgress).step >= done.step
        secret, update = result(connection)

    assert update == expected
    assert msgspec.structs.replace(secret, key=undisturbed.key) == undisturbed


@pytest.mark.slow
def test_the_snapshot_is_told_with_the_first_frame_and_with_the_result(clinic: Clinic) -> None:
    with Connection(clinic) as connection:
        (entry,) = connection.ready.snapshots
        assert (entry.dataset, entry.rows) == ("cardiology", 120)
        connection.give(clinic.order(STUDY, kind=RoundKind.EVALUATE))
        sealed = connection.expect(frames.JobSealed)
    assert sealed.snapshot == entry.digest
    assert {metric.name for metric in sealed.metrics} >= {"auc", "accuracy", "loss"}
    assert {metric.count for metric in sealed.metrics} == {30}
