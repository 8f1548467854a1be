# SPDX-License-Identifier: Apache-2.0
"""The snapshot program as a process: killed at its failpoint, bounded in memory, alone with its files."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fedagent.storage.failpoints import ENVIRONMENT, Failpoint
from fedagent.trainer.snapshots import SnapshotStore
from tests.fakes.datasets import DataHospital

COLUMNS = {"age": {"type": "number"}, "note": {"type": "text"}}
LIMIT_S = 110
ROWS = 750_000


@pytest.fixture
def hospital(tmp_path: Path) -> DataHospital:
    hospital = DataHospital(tmp_path / "hospital")
    hospital.define_csv("mrn,age,note\n1,63,x\n2,64,y\n", COLUMNS, patient="mrn")
    return hospital


def start(hospital: DataHospital, **environment: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "fedagent.trainer.snapshot", "--config", str(hospital.config), "heart"]
    return subprocess.run(
        words, check=False, capture_output=True, text=True, timeout=LIMIT_S, env=os.environ | environment
    )


@pytest.mark.parametrize(
    "point", [Failpoint.FILE_BEFORE_RENAME, Failpoint.FILE_AFTER_RENAME, Failpoint.SNAPSHOT_WRITTEN]
)
def test_a_kill_before_the_pointer_moves_leaves_the_older_snapshot_current(
    hospital: DataHospital, point: Failpoint
) -> None:
    first = hospital.make().record
    hospital.write("heart.csv", "mrn,age,note\n3,65,z\n")
    assert start(hospital, **{ENVIRONMENT: point}).returncode == -signal.SIGKILL
    assert hospital.record() == first
    assert start(hospital).returncode == 0
    second = hospital.record()
    assert (second.rows, second.digest != first.digest) == (1, True)
    assert sorted(path.name for path in second.path.parent.iterdir() if path.name.startswith(".")) == []


def test_a_kill_after_the_pointer_moved_leaves_the_new_one_current(hospital: DataHospital) -> None:
    hospital.make()
    hospital.write("heart.csv", "mrn,age,note\n3,65,z\n")
    assert start(hospital, **{ENVIRONMENT: f"{Failpoint.FILE_AFTER_RENAME}:3"}).returncode == -signal.SIGKILL
    assert hospital.record().rows == 1


@pytest.mark.slow
def test_a_table_larger_than_its_memory_is_not_loaded(hospital: DataHospital) -> None:
    note = "n" * 900
    with (hospital.folder / "heart.csv").open("w") as file:
        file.write("mrn,age,note\n")
        file.writelines(f"{mrn},{mrn % 90},{mrn}{note}\n" for mrn in range(ROWS))
    done = start(hospital)
    assert (done.returncode, done.stderr) == (0, "")
    record = SnapshotStore(hospital.state / "snapshots").current("heart")
    assert record is not None
    assert record.rows == ROWS
    peak_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    assert peak_mib < 900
