# SPDX-License-Identifier: Apache-2.0
"""The product's access list in a real mosquitto: a certificate opens its own branch and no other."""

import logging
from pathlib import Path

import pytest

from fedagent.demo.broker import MosquittoProgram
from tests.fakes.centre import Centre, Party, running
from tests.fakes.loop import in_loop

UP = "fedagent/v1/up/clinic-a/heart/progress"
DOWN = "fedagent/v1/down/clinic-a/heart/grant"


@pytest.fixture
def centre(tmp_path: Path) -> Centre:
    return Centre(tmp_path)


def parties(centre: Centre) -> tuple[Party, Party]:
    site = Party(centre.settings_of("clinic-a"), "clinic-a")
    return site, Party(centre.settings_of("aggregator"), "aggregator")


@in_loop
async def test_a_site_reaches_only_its_own_branch(
    centre: Centre, mosquitto: MosquittoProgram, caplog: pytest.LogCaptureFixture
) -> None:
    site, aggregator = parties(centre)
    other = Party(centre.settings_of("clinic-b"), "clinic-b")
    with centre.broker(mosquitto):
        async with running(site, aggregator, other):
            for party in (site, aggregator, other):
                await party.connected()
            aggregator.link.subscribe(["fedagent/v1/up/#"])
            other.link.subscribe(
                ["fedagent/v1/down/clinic-a/#", "fedagent/v1/up/#", "fedagent/v1/down/clinic-b/x"]
            )
            other.link.publish(UP, b"forged")
            await other.quiet()
            await aggregator.settled()
            aggregator.link.publish(DOWN, b"secret")
            site.link.publish(UP, b"genuine")
            aggregator.link.publish("fedagent/v1/down/clinic-b/x", b"for b")
            assert (await aggregator.arrived()).payload == b"genuine"
            assert (await other.arrived()).payload == b"for b"
    refusals = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert any(UP in record.getMessage() and "Not authorized" in record.getMessage() for record in refusals)


@in_loop
async def test_a_site_cannot_take_anothers_session(centre: Centre, mosquitto: MosquittoProgram) -> None:
    site, _ = parties(centre)
    impostor = Party(centre.settings_of("clinic-b"), "clinic-a")
    with centre.broker(mosquitto):
        async with running(site):
            await site.connected()
            async with running(impostor):
                await impostor.connected()
            assert site.link.connected
            assert site.events.empty()
