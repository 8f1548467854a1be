# SPDX-License-Identifier: Apache-2.0
"""A site's downloads and uploads, on a link that the test holds in its hands."""

from pathlib import Path

import pytest

from fedagent.core.facts import Instant
from fedagent.errors import WireError
from fedagent.site.transfers import Transfers
from fedagent.storage.blobs import BlobFolder
from fedagent.storage.shortage import Shortage
from fedagent.transport.events import Arrived
from fedagent.wire.codec import encode
from fedagent.wire.manifest import Manifest, blob_digest
from fedagent.wire.messages import Want
from fedagent.wire.topics import chunk_topic, manifest_topic
from tests.fakes.blobs import CHUNK, blob_of, reference_to
from tests.fakes.link import FakeLink


class Site:
    """Transfers with everything around them visible."""

    def __init__(self, folder: Path) -> None:
        self.blobs = BlobFolder(folder)
        self.link, self.clock = FakeLink(), 0.0
        self.shortage = Shortage(self.now)
        self.wants: list[Want] = []
        self.fetched: list[tuple[str, bytes]] = []
        self.transfers = Transfers(
            self.blobs,
            self.link,
            site="north",
            window=4,
            ask=self.wants.append,
            on_fetched=lambda study, blob: self.fetched.append((study, blob)),
            shortage=self.shortage,
        )

    def now(self) -> Instant:
        return Instant(monotonic=self.clock, wall=self.clock)

    def receives(self, topic: str, payload: bytes) -> None:
        self.transfers.arrived(Arrived(topic=topic, payload=payload, mid=1, qos=1), 1.0)

    def receives_all(self, manifest: Manifest, chunks: list[bytes]) -> None:
        blob = blob_digest(manifest)
        self.receives(manifest_topic(blob), encode(manifest))
        for index, chunk in enumerate(chunks):
            self.receives(chunk_topic(blob, index), chunk)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "blobs")


def test_a_model_is_asked_for_fetched_and_reported_once(site: Site) -> None:
    manifest, chunks = blob_of(3)
    site.transfers.fetch("heart", reference_to(manifest), 0.0)
    site.receives_all(manifest, chunks)
    assert site.fetched == [("heart", blob_digest(manifest))]
    assert site.wants[0] == Want(study="heart", blob=blob_digest(manifest))
    assert {index for want in site.wants for index in want.chunks} == {0, 1, 2}


def test_a_model_that_is_here_is_not_fetched_again(site: Site) -> None:
    manifest, chunks = blob_of(2)
    site.blobs.add_file(chunks, CHUNK)
    site.transfers.fetch("heart", reference_to(manifest), 0.0)
    assert site.fetched == [("heart", blob_digest(manifest))]
    assert site.wants == []


def test_two_studies_that_want_one_model_both_get_it(site: Site) -> None:
    manifest, chunks = blob_of(2)
    for study in ("heart", "lungs"):
        site.transfers.fetch(study, reference_to(manifest), 0.0)
    site.receives_all(manifest, chunks)
    assert [study for study, _ in site.fetched] == ["heart", "lungs"]


def test_after_a_new_connection_what_lacks_is_asked_for_again(site: Site) -> None:
    manifest, chunks = blob_of(3)
    site.transfers.fetch("heart", reference_to(manifest), 0.0)
    site.receives(manifest_topic(blob_digest(manifest)), encode(manifest))
    site.receives(chunk_topic(blob_digest(manifest), 1), chunks[1])
    site.wants.clear()
    site.transfers.fetch("heart", reference_to(manifest), 2.0)
    assert [want.chunks for want in site.wants] == [(0, 2)]


def test_a_silent_aggregator_is_asked_again(site: Site) -> None:
    manifest, _ = blob_of(1)
    site.transfers.fetch("heart", reference_to(manifest), 0.0)
    site.wants.clear()
    site.transfers.wake(1.0)
    assert site.wants == []
    site.transfers.wake(3.0)
    assert len(site.wants) == 1


def test_only_granted_chunks_are_sent(site: Site) -> None:
    _, chunks = blob_of(3)
    manifest = site.blobs.add_file(chunks, CHUNK)
    site.transfers.grant("heart", manifest, (2, 0))
    sent = [payload[36:] for _, payload in site.link.take()]
    assert sent == [chunks[2], chunks[0]]


def test_a_grant_for_an_update_that_is_not_in_the_spool_is_refused(site: Site) -> None:
    manifest, _ = blob_of(2)
    with pytest.raises(WireError, match="not in the spool"):
        site.transfers.grant("heart", manifest, (0,))


def test_what_nobody_needs_is_deleted_and_what_is_needed_stays(site: Site) -> None:
    kept, lost = site.blobs.add_file(blob_of(1)[1], CHUNK), site.blobs.add_file(blob_of(1, seed=9)[1], CHUNK)
    site.transfers.keep(frozenset({blob_digest(kept)}))
    assert site.blobs.digests() == {blob_digest(kept)}
    assert site.blobs.path(blob_digest(lost)) is None


def test_nothing_is_deleted_while_a_blob_may_come_in_that_has_no_name_yet(site: Site) -> None:
    fresh = site.blobs.add_file(blob_of(1)[1], CHUNK)
    site.transfers.keep(frozenset(), delete=False)
    assert site.blobs.digests() == {blob_digest(fresh)}


def begun(site: Site, manifest: Manifest, chunk: bytes) -> bytes:
    """A download of which the manifest and the first chunk came."""
    site.transfers.fetch("heart", reference_to(manifest), 0.0)
    blob = blob_digest(manifest)
    site.receives(manifest_topic(blob), encode(manifest))
    site.receives(chunk_topic(blob, 0), chunk)
    return blob


def test_a_dropped_download_gives_up_its_topics_and_leaves_no_byte(site: Site) -> None:
    manifest, chunks = blob_of(3)
    begun(site, manifest, chunks[0])
    assert site.link.topics
    asked = len(site.wants)
    site.transfers.keep(frozenset())
    site.transfers.wake(1000.0)
    assert site.link.topics == set()
    assert site.blobs.unfinished() == frozenset()
    assert len(site.wants) == asked


def test_a_new_rounds_download_takes_the_place_of_the_last_ones(site: Site) -> None:
    _, blob = (begun(site, manifest, chunks[0]) for manifest, chunks in (blob_of(3, seed) for seed in (1, 2)))
    assert all(f"/{blob.hex()}/" in topic for topic in site.link.topics)
    site.transfers.keep(frozenset({blob}))
    assert site.blobs.unfinished() == {blob}


def test_what_a_process_that_died_had_begun_is_deleted_unless_it_is_needed(
    site: Site, tmp_path: Path
) -> None:
    blobs = [begun(site, manifest, chunks[0]) for manifest, chunks in (blob_of(3, seed) for seed in (1, 2))]
    later = Site(tmp_path / "blobs")
    later.transfers.keep(frozenset({blobs[1]}))
    assert later.blobs.unfinished() == {blobs[1]}


def test_a_study_whose_model_another_one_finished_gives_up_its_topics(site: Site) -> None:
    manifest, chunks = blob_of(3)
    for study in ("heart", "lung"):
        site.transfers.fetch(study, reference_to(manifest), 0.0)
    site.receives_all(manifest, chunks)
    assert site.link.topics == set()
