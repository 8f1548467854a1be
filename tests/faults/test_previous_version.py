# SPDX-License-Identifier: Apache-2.0
"""A federation that an earlier version left in the middle of a round: today's programs end it with the model of that version.

tests/data/golden/state/federation-v1 is what the first form of the state held when everything was killed: round 1 of 2 is open,
one site's update is stored, the other site has not joined. Certificates are today's.
It was recorded by ``tests/faults/record_state.py``.
"""

import shutil
import sqlite3
from pathlib import Path
from typing import Final

import pytest

from fedagent.storage.toml import read_toml
from fedagent.wire.study import Study
from tests.faults.arena import Arena, Prepared

pytestmark = pytest.mark.timeout(240)

GOLDEN: Final = Path(__file__).parents[1] / "data" / "golden" / "state"
LEFT: Final = GOLDEN / "federation-v1"


def restore(source: Path, target: Path, name: str) -> None:
    """The state folder as it was left."""
    shutil.copytree(source, target, dirs_exist_ok=True)
    rows = target / f"{name}-rows.sql"
    if rows.exists():
        connection = sqlite3.connect(target / f"{name}.sqlite", isolation_level=None)
        connection.executescript((GOLDEN / f"{name}-v1.sql").read_text())
        connection.executescript(rows.read_text())
        connection.execute("PRAGMA user_version=1")
        connection.close()
        rows.unlink()
    for path in (target, *target.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)


def test_a_study_goes_on_from_an_earlier_versions_state(tmp_path: Path, prepared: Prepared) -> None:
    arena = Arena(prepared, tmp_path, read_toml(LEFT / "study.toml", Study))
    restore(LEFT / "centre", arena.centre / "state", "aggregator")
    for hospital in arena.hospitals:
        restore(LEFT / hospital.name / "daemon", hospital.folder / "daemon", "site")
        if (LEFT / hospital.name / "trainer").exists():
            restore(LEFT / hospital.name / "trainer", hospital.folder / "trainer", "none")
    with arena.broker, arena.programs:
        arena.start_all()
        assert arena.final_model() == (LEFT / "final-model.sha256").read_text("ascii").strip()
    assert list((arena.centre / "state" / "updates").iterdir()) == []
