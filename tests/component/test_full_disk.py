# SPDX-License-Identifier: Apache-2.0
"""A site's daemon on a disk that is really full: what cannot be stored waits, is said once, and is lost by nobody."""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from fedagent.conditions.files import ROOM_AGAIN, WAITS_FOR_ROOM
from fedagent.core import events as on
from fedagent.core.facts import Instant
from fedagent.core.state import AgentState
from fedagent.errors import NoSpaceError
from fedagent.site import control
from fedagent.transport.events import Arrived, Connected
from fedagent.wire.codec import encode
from fedagent.wire.manifest import blob_digest
from fedagent.wire.topics import manifest_topic
from tests.component.test_site_daemon import Site
from tests.fakes.blobs import CHUNK, blob_of, reference_to
from tests.fakes.loop import in_loop
from tests.fakes.small_disk import SmallDisk, small_disk
from tests.unit.site.test_hosting import SEALED, SIZE, Host, memfd
from tests.unit.site.test_transfers import Site as Fetching

WAITS = WAITS_FOR_ROOM.action
AGAIN = ROOM_AGAIN.text


class FullSite(Site):
    """A site that knows round 3, on a small disk; the test moves its clock and sees what it acknowledges."""

    def __init__(self, folder: Path, disk: SmallDisk) -> None:
        super().__init__(folder)
        self.disk, self.now = disk, 100.0
        self.acknowledged: list[Arrived] = []
        self.daemon._link.acknowledge = self.acknowledged.append  # type: ignore[method-assign,assignment] # no broker is there
        self.daemon._shortage.clock = lambda: Instant(monotonic=self.now, wall=self.now)
        self.hears_round(3)

    def later(self) -> None:
        self.now += 60.0
        self.daemon._backlog.catch_up()


def with_yield(state: AgentState) -> AgentState:
    record = msgspec.structs.replace(state.record, yields=state.record.yields + 1)
    return msgspec.structs.replace(state, record=record)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[FullSite]:
    with small_disk(tmp_path / "state", mib=2) as disk:
        made = FullSite(tmp_path, disk)
        yield made
        made.daemon._database.close()


def test_a_round_that_cannot_be_stored_waits_and_is_taken_when_there_is_room(
    site: FullSite, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    site.disk.fill()
    before = site.daemon.state
    site.hears_round(4)
    site.hears_round(5)
    site.later()
    assert site.daemon.state == before
    assert len(site.acknowledged) == 1
    assert sum(WAITS in line for line in caplog.messages) == 1
    site.disk.empty()
    site.later()
    assert site.round == 5
    assert len(site.acknowledged) == 3
    assert caplog.messages.count(AGAIN) == 1
    assert site.daemon._waiting == 0
    site.restart()
    assert site.round == 5


def test_what_waits_and_was_not_acknowledged_comes_again_with_the_next_connection(site: FullSite) -> None:
    site.disk.fill()
    site.hears_round(4)
    site.daemon._take(Connected(max_packet_bytes=None))
    assert site.daemon._waiting == 0
    site.disk.empty()
    site.later()
    assert site.round == 3
    site._sequence -= 1
    site.hears_round(4)
    assert site.round == 4


@in_loop
async def test_a_pause_that_cannot_be_stored_is_refused_and_changes_nothing(site: FullSite) -> None:
    site.disk.fill()
    answer: asyncio.Future[control.AnyAnswer] = asyncio.get_running_loop().create_future()
    site.daemon._take(control.Asked(control.AskPause(), "anna", answer))
    answered = answer.result()
    assert isinstance(answered, control.Problem)
    assert "full" in answered.said.text
    assert site.daemon.state.record.pause is None


def test_what_a_restart_would_find_anew_goes_on_and_is_stored_later(site: FullSite) -> None:
    """Yielding never waits for the disk."""
    site.disk.fill()
    record = site.daemon.state.record
    site.daemon.state = changed = with_yield(site.daemon.state)
    site.daemon._step(on.Woke())
    assert site.daemon.state.record == changed.record
    assert site.daemon._saved.record == record
    site.disk.empty()
    site.now += 60.0
    site.daemon._step(on.Woke())
    assert site.daemon._saved.record == changed.record


@in_loop
async def test_the_status_says_what_waits_and_since_when(site: FullSite) -> None:
    site.disk.fill()
    site.hears_round(4)
    answer: asyncio.Future[control.AnyAnswer] = asyncio.get_running_loop().create_future()
    site.daemon._take(control.Asked(control.AskStatus(), "anna", answer))
    answered = answer.result()
    assert isinstance(answered, control.StatusAnswer)
    assert answered.status.storage is not None
    assert "full" in answered.status.storage.text
    assert answered.status.storage.since == 100.0


def test_messages_are_numbered_and_sent_while_nothing_can_be_stored(site: FullSite) -> None:
    site.disk.fill()
    numbers = [site.daemon._mailbox._take(will=False) for _ in range(3000)]
    assert numbers == sorted(set(numbers))


def test_a_stop_never_waits(site: FullSite) -> None:
    site.disk.fill()
    site.hears_round(4)
    assert site.daemon._take(on.StopAsked())


# --- transfers ----------------------------------------------------------------------------------------------------


def test_a_model_that_finds_no_room_is_fetched_when_there_is_some(tmp_path: Path) -> None:
    manifest, chunks = blob_of(6)
    with small_disk(tmp_path / "spool", mib=1) as disk:
        site = Fetching(disk.folder / "blobs")
        disk.fill(but_bytes=2 * CHUNK)
        site.transfers.fetch("heart", reference_to(manifest), 0.0)
        site.receives_all(manifest, chunks)
        assert site.fetched == []
        assert site.shortage.text != ""
        assert site.link.topics == set()
        site.transfers.wake(0.5)
        assert site.link.topics == set()
        disk.empty()
        site.clock = 2.0
        site.transfers.wake(2.0)
        assert site.shortage.text == ""
        site.receives_all(manifest, chunks)
        assert site.fetched == [("heart", blob_digest(manifest))]


def test_a_model_that_found_no_room_is_forgotten_when_nobody_needs_it(tmp_path: Path) -> None:
    manifest, _ = blob_of(6)
    with small_disk(tmp_path / "spool", mib=1) as disk:
        site = Fetching(disk.folder / "blobs")
        disk.fill()
        site.transfers.fetch("heart", reference_to(manifest), 0.0)
        site.receives(manifest_topic(blob_digest(manifest)), encode(manifest))
        assert site.shortage.text != ""
        site.transfers.keep(frozenset())
        site.transfers.wake(1.0)
        assert site.shortage.text == ""


def test_an_update_that_finds_no_room_stays_in_memory_until_there_is_some(tmp_path: Path) -> None:
    with small_disk(tmp_path / "blobs", mib=1) as disk:
        host = Host(tmp_path)
        host.hear(SEALED, [memfd(SIZE)])
        disk.fill()
        waited: list[str] = []

        def met(what: str, error: NoSpaceError) -> None:
            waited.append(what)
            disk.empty()

        host.shortage.met = met  # type: ignore[method-assign] # the moment at which to make room
        spooled = asyncio.run(host.spooled())
        assert waited == ["update"]
        assert spooled.manifest.size_bytes == SIZE
        assert host.blobs.digests() == {blob_digest(spooled.manifest)}
