# SPDX-License-Identifier: Apache-2.0
"""An aggregator on a disk that is really full, again and again: it lives on, and the model is the undisturbed one."""

import asyncio
import logging
from collections.abc import Awaitable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from fedagent.aggregator import control
from fedagent.aggregator.app import Aggregator
from fedagent.aggregator.settings import AggregatorStorage
from fedagent.aggregator.tables import PartPhase, StudyPhase
from fedagent.conditions.files import ROOM_AGAIN, WAITS_FOR_ROOM
from fedagent.errors import FedagentError, NoSpaceError
from tests.fakes.small_disk import SmallDisk, small_disk
from tests.fakes.study_centre import Centre, study

WAITS = WAITS_FOR_ROOM.action


@pytest.fixture
def centre(tmp_path: Path) -> Centre:
    made = Centre(tmp_path)
    made.settings = msgspec.structs.replace(made.settings, storage=AggregatorStorage(free_mib=0))
    return made


@pytest.fixture
def disk(centre: Centre) -> Iterator[SmallDisk]:
    with small_disk(centre.settings.state, mib=8) as made:
        yield made


def play(script: Awaitable[None]) -> None:
    async def main() -> None:
        await script

    asyncio.run(main())


def waiting(aggregator: Aggregator) -> asyncio.Event:
    """Set when something finds no room."""
    found, met = asyncio.Event(), aggregator._shortage.met

    def meet(what: str, error: NoSpaceError) -> None:
        met(what, error)
        found.set()

    aggregator._shortage.met = meet  # type: ignore[method-assign] # the moment that the test waits for
    return found


def test_a_study_that_cannot_be_stored_is_refused_and_nothing_changes(
    centre: Centre, disk: SmallDisk
) -> None:
    async def script() -> None:
        async with centre.running():
            await centre.link.until(lambda: all(site.heard for site in centre.sites.values()))
            disk.fill()
            with pytest.raises(FedagentError, match="free space there"):
                await centre.ask(control.CreateStudy(study=study()))
            disk.empty()
            await centre.begin(study(rounds=1))
            await centre.until_phase(StudyPhase.ENDED)

    play(script())


@pytest.mark.parametrize("left_bytes", [0, 16_384, 65_536, 262_144])
def test_a_disk_that_fills_in_a_round_costs_nothing_but_time(
    centre: Centre, disk: SmallDisk, caplog: pytest.LogCaptureFixture, left_bytes: int
) -> None:
    """What finds no room is, from little to much that is left: a message, an update, the next model."""
    caplog.set_level(logging.INFO)
    held = centre.sites["clinic-c"]
    held.offers = False

    async def script() -> None:
        async with centre.running() as aggregator:
            waits = waiting(aggregator)
            await centre.begin(study(quorum=3))
            await centre.until_part("clinic-a", PartPhase.STORED)
            await centre.link.until(lambda: held._offer is not None)
            disk.fill(but_bytes=left_bytes)
            held.offers = True
            held.offer_now()
            await waits.wait()
            disk.empty()
            await centre.until_phase(StudyPhase.ENDED)

    play(script())
    assert np.array_equal(centre.final_model(), np.full(40_000, 1.5, dtype="<f4"))
    assert list((centre.settings.state / "updates").iterdir()) == []
    assert len(list(centre.settings.models.iterdir())) == 4
    assert sum(WAITS in line for line in caplog.messages) == 1
    assert caplog.messages.count(ROOM_AGAIN.text) == 1


def test_a_study_that_is_stopped_waits_for_no_room_any_more(centre: Centre, disk: SmallDisk) -> None:
    async def script() -> None:
        async with centre.running() as aggregator:
            waits = waiting(aggregator)
            await centre.link.until(lambda: all(site.heard for site in centre.sites.values()))
            disk.fill(but_bytes=100_000)
            await centre.begin(study())
            await waits.wait()
            await centre.ask(control.StopStudy(name="transfer", text="enough"))
            assert aggregator._shortage.text == ""

    play(script())
