# SPDX-License-Identifier: Apache-2.0
"""Disks that are really full, in every program that writes: clearly said, nothing lost, and the same model, bit for bit."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import tomli_w

from fedagent.conditions.aggregator import ROUND_IS_OPEN
from fedagent.conditions.files import ROOM_AGAIN, WAITS_FOR_ROOM
from fedagent.conditions.site import ROUND_DECLINED
from fedagent.conditions.trainer import CHECKPOINT_FINDS_NO_ROOM, TRAINER_EXITED
from fedagent.demo.federation import study_table
from fedagent.demo.processes import call, module
from fedagent.errors import FedagentError
from tests.fakes.small_disk import small_disk
from tests.faults.arena import (
    AGGREGATOR,
    LIMIT_S,
    SITE_PROGRAM,
    Arena,
    Prepared,
    training_study,
    transfer_study,
)
from tests.faults.conftest import Digest

pytestmark = pytest.mark.timeout(240)

SMALL = transfer_study("north", "south", parameters=80_000, chunk_bytes=65_536)
OTHER = transfer_study("north", "south", parameters=90_000, chunk_bytes=65_536)
TRAINING = training_study("north", "south")
VICTIM = "north"

WAITS, AGAIN = WAITS_FOR_ROOM.action, ROOM_AGAIN.text


def waits(log: Path, times: int) -> Callable[[], bool]:
    return lambda: log.exists() and log.read_text().count(WAITS) == times


def test_a_site_without_room_waits_says_so_and_loses_nothing(
    tmp_path: Path, prepared: Prepared, undisturbed: Digest
) -> None:
    expected = undisturbed(SMALL)
    arena = Arena(prepared, tmp_path, SMALL)
    arena.configure(VICTIM, "governor", disk_free_mib=0)
    hospital = arena.hospital(VICTIM)
    with small_disk(hospital.folder / "daemon", mib=4) as disk, arena.running():
        arena.launch(VICTIM)
        arena.wait(
            "the connection",
            lambda: (found := hospital.status()) is not None and found.broker.connected,
            LIMIT_S,
        )
        disk.fill()
        arena.launch(AGGREGATOR)
        arena.launch("south")
        arena.wait("the first shortage", waits(hospital.log, 1), LIMIT_S)
        with pytest.raises(FedagentError, match="free space there"):
            call(module(SITE_PROGRAM, "pause", "--config", str(hospital.config)))
        assert "waits for room: cannot write" in call(
            module(SITE_PROGRAM, "status", "--config", str(hospital.config))
        )
        disk.empty()
        arena.wait("round 2", arena.in_round(VICTIM, 2), LIMIT_S)
        disk.fill()
        arena.wait("the second shortage", waits(hospital.log, 2), LIMIT_S)
        disk.empty()
        assert arena.final_model() == expected
        status = hospital.status()
        assert status is not None
        assert status.storage is None
    assert hospital.log.read_text().count(AGAIN) == 2


def test_an_aggregator_without_room_waits_says_so_and_loses_nothing(
    tmp_path: Path, prepared: Prepared, undisturbed: Digest
) -> None:
    expected = undisturbed(SMALL)
    arena = Arena(prepared, tmp_path, SMALL)
    arena.configure(AGGREGATOR, "storage", free_mib=0)
    other = tmp_path / "other.toml"
    other.write_text(tomli_w.dumps(study_table(OTHER)))
    with small_disk(arena.centre / "state", mib=8) as disk, arena.running():
        arena.launch(AGGREGATOR)
        arena.wait(
            "round 1", logged(arena.aggregator_log, str(ROUND_IS_OPEN(study=SMALL.name, round=1))), LIMIT_S
        )
        disk.fill()
        arena.launch(VICTIM)
        arena.launch("south")
        arena.wait("the first shortage", waits(arena.aggregator_log, 1), LIMIT_S)
        with pytest.raises(FedagentError, match="free space there"):
            arena.fedaggregator("study", "create", str(other))
        assert "MiB are free in" in arena.fedaggregator("study", "status")
        disk.empty()
        arena.wait("round 2", arena.in_round(VICTIM, 2), LIMIT_S)
        disk.fill(but_bytes=400_000)
        arena.wait("the second shortage", waits(arena.aggregator_log, 2), LIMIT_S)
        disk.empty()
        assert arena.final_model() == expected
    assert arena.aggregator_log.read_text().count(AGAIN) == 2


def test_a_trainer_without_room_declines_nothing_and_loses_nothing(
    tmp_path: Path, prepared: Prepared, undisturbed: Digest
) -> None:
    expected = undisturbed(TRAINING)
    arena = Arena(prepared, tmp_path, TRAINING)
    arena.configure(VICTIM, "governor", disk_free_mib=0)
    arena.configure(VICTIM, "trainer", checkpoint_every_s=0.001)
    hospital = arena.hospital(VICTIM)
    with small_disk(hospital.folder / "trainer", mib=8) as disk, arena.running():
        disk.fill()
        with pytest.raises(FedagentError, match=r"No space|is its disk full|free space"):
            hospital.snapshot()
        arena.start_all()
        arena.wait("a trainer that cannot start", logged(hospital.log, TRAINER_EXITED.code), LIMIT_S)
        disk.empty()
        arena.wait("the training", lambda: arena.phases().get(VICTIM) == "training", LIMIT_S)
        disk.fill()
        arena.wait(
            "no room",
            logged(hospital.log, f"{WAITS_FOR_ROOM.code}|{CHECKPOINT_FINDS_NO_ROOM.action}"),
            LIMIT_S,
        )
        disk.empty()
        assert arena.final_model() == expected
    assert ROUND_DECLINED.code not in hospital.log.read_text()


def logged(log: Path, pattern: str) -> Callable[[], bool]:
    return lambda: re.search(pattern, log.read_text()) is not None
