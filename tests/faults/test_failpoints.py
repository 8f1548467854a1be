# SPDX-License-Identifier: Apache-2.0
"""SIGKILL at every point where durability is decided, in every program that reaches it: the same model, bit for bit."""

from pathlib import Path

import msgspec
import pytest
from typing_extensions import override

from fedagent.demo.hospital import DATASET
from fedagent.demo.processes import call, module
from fedagent.errors import FedagentError
from fedagent.storage.failpoints import ENVIRONMENT, Failpoint
from tests.faults.arena import (
    AGGREGATOR,
    AGGREGATOR_PROGRAM,
    LIMIT_S,
    SITE_PROGRAM,
    Arena,
    Prepared,
    training_study,
    transfer_study,
    until_dead,
)
from tests.faults.conftest import Digest

pytestmark = pytest.mark.timeout(240)

TRAINING = training_study("north", "south")
SMALL = transfer_study("north", "south", parameters=80_000, chunk_bytes=65_536)
"""Five chunks, and no torch."""

VICTIM = "north"
SUPERVISOR = "fedagent.trainer.supervisor"
WORKER = "fedagent.trainer.worker"
SNAPSHOT = "fedagent.trainer.snapshot"


class Kill(msgspec.Struct, frozen=True):
    """Which program dies when it reaches which point for the how many-th time."""

    program: str
    point: Failpoint
    number: int = 1

    @override
    def __str__(self) -> str:
        return f"{self.program.rpartition('.')[2]}-{self.point}-{self.number}"


DAEMON_KILLS = [
    *(Kill(SITE_PROGRAM, Failpoint.SITE_BEFORE_COMMIT, number) for number in (1, 4, 8)),
    *(Kill(SITE_PROGRAM, Failpoint.SITE_AFTER_COMMIT, number) for number in (1, 5, 9)),
    *(Kill(SITE_PROGRAM, Failpoint.SITE_CHUNK_WRITTEN, number) for number in (1, 4)),
    Kill(SITE_PROGRAM, Failpoint.SITE_UPDATE_SPOOLED),
    *(Kill(SITE_PROGRAM, Failpoint.FILE_BEFORE_RENAME, number) for number in (1, 2)),
    *(Kill(SITE_PROGRAM, Failpoint.FILE_AFTER_RENAME, number) for number in (1, 2)),
    *(Kill(SITE_PROGRAM, Failpoint.MESSAGE_PUBLISHED, number) for number in (2, 9)),
]
TRAINER_KILLS = [
    *(Kill(SUPERVISOR, Failpoint.FILE_BEFORE_RENAME, number) for number in (1, 2)),
    *(Kill(SUPERVISOR, Failpoint.FILE_AFTER_RENAME, number) for number in (1, 2)),
    Kill(SUPERVISOR, Failpoint.UPDATE_SEALED),
    Kill(WORKER, Failpoint.FILE_BEFORE_RENAME),
    Kill(WORKER, Failpoint.FILE_AFTER_RENAME),
    *(Kill(WORKER, Failpoint.CHECKPOINT_WRITTEN, number) for number in (1, 3)),
]
AGGREGATOR_KILLS = [
    *(Kill(AGGREGATOR_PROGRAM, Failpoint.AGGREGATOR_BEFORE_COMMIT, number) for number in (1, 9)),
    *(Kill(AGGREGATOR_PROGRAM, Failpoint.AGGREGATOR_AFTER_COMMIT, number) for number in (2, 10)),
    *(Kill(AGGREGATOR_PROGRAM, Failpoint.AGGREGATOR_CHUNK_STORED, number) for number in (1, 8)),
    *(Kill(AGGREGATOR_PROGRAM, Failpoint.AGGREGATOR_MODEL_FOLDED, number) for number in (1, 2)),
    *(Kill(AGGREGATOR_PROGRAM, Failpoint.FILE_BEFORE_RENAME, number) for number in (1, 4)),
    *(Kill(AGGREGATOR_PROGRAM, Failpoint.FILE_AFTER_RENAME, number) for number in (2, 5)),
    *(Kill(AGGREGATOR_PROGRAM, Failpoint.MESSAGE_PUBLISHED, number) for number in (1, 12)),
]
SNAPSHOT_KILLS = [
    *(Kill(SNAPSHOT, Failpoint.FILE_BEFORE_RENAME, number) for number in (1, 2, 3)),
    *(Kill(SNAPSHOT, Failpoint.FILE_AFTER_RENAME, number) for number in (1, 2, 3)),
    Kill(SNAPSHOT, Failpoint.SNAPSHOT_WRITTEN),
]


def test_every_failpoint_is_reached_by_a_case() -> None:
    cases = [*DAEMON_KILLS, *TRAINER_KILLS, *AGGREGATOR_KILLS, *SNAPSHOT_KILLS]
    assert {kill.point for kill in cases} == set(Failpoint)


@pytest.mark.parametrize("kill", [*DAEMON_KILLS, *AGGREGATOR_KILLS], ids=str)
def test_a_killed_daemon_or_aggregator_loses_nothing(
    tmp_path: Path, prepared: Prepared, undisturbed: Digest, kill: Kill
) -> None:
    expected = undisturbed(SMALL)
    arena = Arena(prepared, tmp_path, SMALL)
    failpoint, token = arena.token(kill.point, kill.number, kill.program)
    victim = AGGREGATOR if kill.program == AGGREGATOR_PROGRAM else VICTIM
    with arena.running():
        started = arena.start_all(**{victim: failpoint})
        until_dead(started[victim])
        assert not token.exists()
        arena.restart(victim)
        assert arena.final_model() == expected


@pytest.mark.parametrize("kill", TRAINER_KILLS, ids=str)
def test_a_killed_supervisor_or_worker_loses_nothing(
    tmp_path: Path, prepared: Prepared, undisturbed: Digest, kill: Kill
) -> None:
    study = TRAINING if kill.program == WORKER else SMALL
    expected = undisturbed(study)
    arena = Arena(prepared, tmp_path, study)
    arena.configure(VICTIM, "trainer", checkpoint_every_s=0.001)
    failpoint, token = arena.token(kill.point, kill.number, kill.program)
    with arena.running():
        arena.start_all(**{VICTIM: failpoint})
        arena.wait("the death", lambda: not token.exists(), LIMIT_S)
        assert arena.final_model() == expected


@pytest.mark.parametrize("kill", SNAPSHOT_KILLS, ids=str)
def test_a_killed_snapshot_program_leaves_nothing_wrong(
    tmp_path: Path, prepared: Prepared, kill: Kill
) -> None:
    """The snapshot is the same as if nothing had happened, and so is every model that is trained on it."""
    arena = Arena(prepared, tmp_path, SMALL)
    hospital = arena.hospital(VICTIM)
    before = hospital.snapshot_path()
    before.unlink()
    for file in before.parent.iterdir():
        file.unlink()
    failpoint, token = arena.token(kill.point, kill.number, kill.program)
    words = module(SITE_PROGRAM, "dataset", "snapshot", DATASET, "--config", str(hospital.config))
    with pytest.raises(FedagentError):
        call(words, environment={ENVIRONMENT: failpoint})
    assert not token.exists()
    hospital.snapshot()
    assert hospital.snapshot_path() == before
    assert {file.suffix for file in before.parent.iterdir()} == {".parquet", ".json", ""}
