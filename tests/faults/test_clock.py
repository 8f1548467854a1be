# SPDX-License-Identifier: Apache-2.0
"""Clocks that are a day off, and that are set in the middle of a round: no model changes, no deadline comes early."""

import os
from pathlib import Path

import pytest

from fedagent.demo.broker import MosquittoProgram
from fedagent.demo.processes import call, module
from tests.fakes import clocked
from tests.fakes.clocked import Clock
from tests.faults.arena import (
    AGGREGATOR,
    AGGREGATOR_PROGRAM,
    LIMIT_S,
    SITE_PROGRAM,
    Arena,
    Prepared,
    prepare,
    transfer_study,
)
from tests.faults.conftest import Digest

pytestmark = pytest.mark.timeout(300)

DAY_S = 86_400
HOUR_S = 3600

STUDY = transfer_study("north", "south", parameters=80_000, chunk_bytes=65_536)
PATIENT = transfer_study("north", "south", parameters=80_000, chunk_bytes=65_536, quorum=1, deadline_s=900.0)
"""Could close without south, but not before its deadline."""


@pytest.fixture(scope="module")
def faketime() -> Path:
    """The library."""
    found = clocked.library()
    if found is None:
        pytest.skip("no libfaketime here (Debian package faketime)")
    return found


@pytest.fixture(scope="module")
def prepared_earlier(
    faketime: Path, tmp_path_factory: pytest.TempPathFactory, mosquitto: MosquittoProgram
) -> Prepared:
    """A study centre whose certificates are three days old, so that a clock a day off finds them valid."""
    folder = tmp_path_factory.mktemp("prepared-earlier")
    clock = Clock(folder.parent / "earlier", faketime, ahead_s=-3 * DAY_S)
    with pytest.MonkeyPatch.context() as patched:
        for name, value in clock.environment.items():
            patched.setenv(name, value)
        made = prepare(folder, mosquitto, ("north", "south"))
    assert not set(clock.environment) & set(os.environ)
    return made


def launch(arena: Arena, name: str, clock: Clock) -> None:
    """Starts the program on a machine with that clock."""
    if name == AGGREGATOR:
        words, log = module(AGGREGATOR_PROGRAM, "run", "--config", str(arena.config)), arena.aggregator_log
    else:
        hospital = arena.hospital(name)
        words = [*module(SITE_PROGRAM)[:1], clocked.__file__, "run", "--config", str(hospital.config)]
        log = hospital.log
    arena.programs.start(name, [*clock.words, *words], log)


@pytest.mark.parametrize(
    "sign", [1, -1], ids=["site ahead, aggregator behind", "site behind, aggregator ahead"]
)
def test_clocks_that_are_a_day_off_change_no_model(
    tmp_path: Path, prepared_earlier: Prepared, faketime: Path, undisturbed: Digest, sign: int
) -> None:
    expected = undisturbed(STUDY)
    arena = Arena(prepared_earlier, tmp_path, STUDY)
    with arena.running():
        launch(arena, AGGREGATOR, Clock(tmp_path / "centre-clock", faketime, ahead_s=-sign * DAY_S))
        launch(arena, "north", Clock(tmp_path / "north-clock", faketime, ahead_s=sign * DAY_S))
        arena.launch("south")
        assert arena.final_model() == expected
    assert arena.took_part() == [{"north", "south"}] * 3


def test_clocks_that_are_set_in_the_middle_of_a_round_end_nothing_early(
    tmp_path: Path, prepared_earlier: Prepared, faketime: Path, undisturbed: Digest
) -> None:
    expected = undisturbed(PATIENT)
    arena = Arena(prepared_earlier, tmp_path, PATIENT)
    centre, north = (Clock(tmp_path / f"{name}-clock", faketime) for name in ("centre", "north"))
    config = ("--config", str(arena.hospital("north").config))
    with arena.running():
        launch(arena, AGGREGATOR, centre)
        launch(arena, "north", north)
        arena.wait("the first update", lambda: arena.phases().get("north") == "delivered", LIMIT_S)
        call(module(SITE_PROGRAM, "pause", "--for", "1h", *config))
        for number, ahead_s in enumerate((5 * HOUR_S, -DAY_S), 1):
            centre.set(ahead_s)
            north.set(ahead_s)
            for log in (arena.aggregator_log, arena.hospital("north").log):
                arena.wait("the clock", lambda: log.read_text().count("clock was set by") == number, LIMIT_S)  # noqa: B023
            assert (arena.status().round, arena.status().round_phase) == (1, "open")
            assert "paused" in call(module(SITE_PROGRAM, "why", *config))
        call(module(SITE_PROGRAM, "resume", *config))
        arena.launch("south")
        assert arena.final_model() == expected
    assert arena.took_part() == [{"north", "south"}] * 3


def test_a_clock_before_the_certificates_is_named_and_all_goes_on_when_it_is_set_right(
    tmp_path: Path, prepared: Prepared, faketime: Path, undisturbed: Digest
) -> None:
    expected = undisturbed(STUDY)
    arena = Arena(prepared, tmp_path, STUDY)
    clocks = {
        name: Clock(tmp_path / f"{name}-clock", faketime, ahead_s=-DAY_S) for name in ("north", AGGREGATOR)
    }
    logs = {"north": arena.hospital("north").log, AGGREGATOR: arena.aggregator_log}
    with arena.running():
        for name, clock in clocks.items():
            launch(arena, name, clock)
        arena.launch("south")
        for name, log in logs.items():
            arena.wait(f"the line of {name}", lambda: "this machine's clock" in log.read_text(), LIMIT_S)  # noqa: B023
        for clock in clocks.values():
            clock.set(0)
        assert arena.final_model() == expected
    assert arena.took_part() == [{"north", "south"}] * 3
