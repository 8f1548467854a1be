# SPDX-License-Identifier: Apache-2.0
"""Records what this version leaves on the disks in the middle of a round, for the tests of later versions.

``python -m tests.faults.record_state FOLDER``, before a release whose state is of a new version: the folder is then
tests/data/golden/state/federation-vN, and is not written again. Databases are kept as their rows.
"""

import shutil
import sqlite3
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Final

from fedagent.aggregator.store import Store
from fedagent.aggregator.tables import PartPhase
from fedagent.demo.broker import find_mosquitto
from tests.faults.arena import LIMIT_S, Arena, prepare, transfer_study
from tests.faults.conftest import CACHE

STUDY: Final = transfer_study("north", "south", parameters=300, chunk_bytes=65_536)
LEFT_OUT: Final = frozenset({"lock", "pseudonym.key", "snapshots"})


def main() -> None:
    target = Path(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="fedagent-state-") as work:
        record(Path(work), target)


def record(work: Path, target: Path) -> None:
    """Runs the study once to its end, and once until a site has delivered and the other has not joined."""
    for name in ("prepared", "whole", "left"):
        (work / name).mkdir()
    prepared = prepare(work / "prepared", find_mosquitto(CACHE))
    whole = Arena(prepared, work / "whole", STUDY)
    with whole.running():
        whole.start_all()
        digest = whole.final_model()
    left = Arena(prepared, work / "left", STUDY)
    (left.hospital("south").config.parent / "approvals.d" / f"{STUDY.name}.toml").unlink()
    with left.running():
        left.start_all()
        left.wait("the first site's update", partial(one_is_stored, left), LIMIT_S)
    target.mkdir(parents=True)
    (target / "final-model.sha256").write_text(f"{digest}\n")
    shutil.copyfile(left.study_file, target / "study.toml")
    keep(left.centre / "state", target / "centre")
    for hospital in left.hospitals:
        for part in ("daemon", "trainer"):
            keep(hospital.folder / part, target / hospital.name / part)


def one_is_stored(arena: Arena) -> bool:
    store = Store(arena.centre / "state" / "aggregator.sqlite")
    try:
        round_ = store.current_round(STUDY.name)
    finally:
        store.close()
    stored = round_ is not None and any(part.phase is PartPhase.STORED for part in round_.parts)
    return stored and arena.phases().keys() == {"north", "south"}


def keep(source: Path, target: Path) -> None:
    """The files as they are, the database as its rows."""
    for path in sorted(source.rglob("*")):
        inner = path.relative_to(source)
        if path.is_dir() or ".sqlite-" in path.name or LEFT_OUT & set(inner.parts):
            continue
        (target / inner).parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".sqlite":
            connection = sqlite3.connect(path)
            rows = [line for line in connection.iterdump() if line.startswith("INSERT")]
            connection.close()
            (target / inner).with_name(f"{path.stem}-rows.sql").write_text("\n".join([*rows, ""]))
        else:
            shutil.copyfile(path, target / inner)


if __name__ == "__main__":
    main()
