# SPDX-License-Identifier: Apache-2.0
"""A model on its way to a site."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedagent.errors import WireError
from fedagent.storage.blobs import BlobFolder
from fedagent.transport.download import SILENCE_S, Download
from fedagent.wire.codec import encode
from fedagent.wire.manifest import blob_digest
from fedagent.wire.topics import chunk_topic, manifest_topic
from tests.fakes.blobs import CHUNK, blob_of, reference_to
from tests.fakes.link import FakeLink

COUNT = 7
WINDOW = 4
MANIFEST, CHUNKS = blob_of(COUNT)
BLOB = blob_digest(MANIFEST)
MANIFEST_TOPIC = manifest_topic(BLOB)


class Case:
    """A download, with what it asked for since the last look."""

    def __init__(self, folder: Path) -> None:
        self.folder = BlobFolder(folder)
        self.link = FakeLink()
        self.asked: list[tuple[int, ...]] = []
        self.download = self.again()

    def again(self) -> Download:
        """The same after a restart of the daemon."""
        self.download = Download(reference_to(MANIFEST), self.folder, self.link, ask=self._ask, window=WINDOW)
        return self.download

    def _ask(self, chunks: tuple[int, ...]) -> None:
        topics = [chunk_topic(BLOB, index) for index in chunks] or [MANIFEST_TOPIC]
        assert self.link.topics.issuperset(topics), "asked before it subscribed"
        self.asked.append(chunks)

    def give(self, index: int, now: float = 0.0) -> None:
        self.download.arrived(chunk_topic(BLOB, index), CHUNKS[index], now)

    def take_asked(self) -> list[tuple[int, ...]]:
        taken, self.asked = self.asked, []
        return taken


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path / "blobs")


def begun(case: Case) -> Case:
    case.download.start(0.0)
    case.download.arrived(MANIFEST_TOPIC, encode(MANIFEST), 0.0)
    case.take_asked()
    return case


def test_the_manifest_comes_first_then_a_window_of_chunks(case: Case) -> None:
    case.download.start(0.0)
    assert case.take_asked() == [()]
    assert case.download.fraction == 0.0
    case.download.arrived(MANIFEST_TOPIC, encode(MANIFEST), 0.0)
    assert case.take_asked() == [(0, 1, 2, 3)]
    assert case.link.topics == {chunk_topic(BLOB, index) for index in range(4)}


def test_more_is_asked_for_when_half_of_the_window_has_come(case: Case) -> None:
    begun(case)
    case.give(2)
    assert case.take_asked() == []
    case.give(0)
    assert case.take_asked() == [(4, 5)]
    assert case.link.topics == {chunk_topic(BLOB, index) for index in (1, 3, 4, 5)}
    assert case.download.fraction == pytest.approx(2 / COUNT)


def test_the_model_is_whole_at_the_end_and_nothing_stays_subscribed(case: Case) -> None:
    begun(case)
    for index in range(COUNT):
        assert case.download.done is None
        case.give(index)
    assert case.download.done == case.folder.path(BLOB)
    assert case.download.done
    assert case.download.done.read_bytes() == b"".join(CHUNKS)
    assert case.download.fraction == 1.0
    assert case.link.topics == set()
    assert case.download.wake(1e9) is None
    case.give(0)
    case.download.resume(0.0)
    assert case.take_asked() == [(4, 5), (6,)]


def test_a_model_that_is_here_is_not_fetched(case: Case) -> None:
    case.folder.add_file(CHUNKS, CHUNK)
    case.download.start(0.0)
    assert case.download.done
    assert case.take_asked() == []


def test_a_restart_goes_on_with_what_is_on_the_disk(case: Case) -> None:
    begun(case)
    for index in range(4):
        case.give(index)
    case.take_asked()
    case.again().start(0.0)
    assert case.take_asked() == [(4, 5, 6)]


def test_silence_is_followed_by_the_same_question_at_growing_intervals(case: Case) -> None:
    begun(case)
    case.give(1)
    now, gaps = 0.0, []
    for _ in range(8):
        due = case.download.wake(now)
        assert due
        assert case.take_asked() == ([(0, 2, 3)] if now else [])
        assert case.download.wake(due - 0.001) == due
        gaps.append(due - now)
        now = due
    assert gaps == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    assert gaps[0] == SILENCE_S[0]


def test_a_chunk_ends_the_silence(case: Case) -> None:
    begun(case)
    case.download.wake(2.0)
    case.give(0, now=3.0)
    assert case.download.wake(3.0) == 5.0


def test_an_unanswered_manifest_is_asked_for_again(case: Case) -> None:
    case.download.start(0.0)
    case.download.wake(2.0)
    assert case.take_asked() == [(), ()]


def test_a_new_connection_subscribes_and_asks_again(case: Case) -> None:
    begun(case)
    case.give(0)
    case.link.topics.clear()
    case.download.resume(5.0)
    assert case.take_asked() == [(1, 2, 3, 4)]
    assert case.link.topics == {chunk_topic(BLOB, index) for index in (1, 2, 3, 4)}


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        pytest.param(chunk_topic(BLOB, 0), CHUNKS[1], id="another chunk"),
        pytest.param(chunk_topic(BLOB, 0), b"", id="empty"),
    ],
)
def test_a_wrong_chunk_is_refused_and_asked_for_again_after_silence(
    case: Case, topic: str, payload: bytes
) -> None:
    begun(case)
    with pytest.raises(WireError):
        case.download.arrived(topic, payload, 1.0)
    case.download.wake(2.0)
    assert case.take_asked() == [(0, 1, 2, 3)]


def test_a_wrong_manifest_is_refused(case: Case) -> None:
    case.download.start(0.0)
    other, _ = blob_of(2)
    with pytest.raises(WireError, match="not the manifest"):
        case.download.arrived(MANIFEST_TOPIC, encode(other), 0.0)


def test_a_manifest_of_another_size_than_announced_is_refused(case: Case) -> None:
    reference = msgspec.structs.replace(reference_to(MANIFEST), size_bytes=1)
    download = Download(reference, case.folder, case.link, ask=lambda _: None, window=WINDOW)
    download.start(0.0)
    with pytest.raises(WireError, match=r"another size than announced \(\d+ bytes, announced are \d+\)"):
        download.arrived(MANIFEST_TOPIC, encode(MANIFEST), 0.0)


def test_messages_of_others_and_repeats_change_nothing(case: Case) -> None:
    begun(case)
    case.download.arrived(chunk_topic(bytes(32), 0), CHUNKS[0], 0.0)
    case.download.arrived(chunk_topic(BLOB, 6), CHUNKS[6], 0.0)
    case.download.arrived(MANIFEST_TOPIC, encode(MANIFEST), 0.0)
    assert case.download.fraction == 0.0
    case.give(0)
    case.give(0)
    assert case.download.fraction == pytest.approx(1 / COUNT)
    assert case.take_asked() == []


@given(st.data())
def test_any_order_of_chunks_losses_and_reconnects_ends_with_the_model(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    case = begun(Case(tmp_path_factory.mktemp("blobs")))
    now = 0.0
    for _ in range(40):
        now += 1.0
        wanted = sorted(
            int(topic.rpartition("/")[2]) for topic in case.link.topics if topic != MANIFEST_TOPIC
        )
        assert len(wanted) <= 2 * WINDOW
        match data.draw(st.sampled_from(["give", "give", "lose", "reconnect", "restart"])):
            case "give" if wanted:
                case.give(data.draw(st.sampled_from(wanted)), now)
            case "reconnect":
                case.link.topics.clear()
                case.download.resume(now)
            case "restart":
                case.again().start(now)
            case _:
                case.download.wake(now)
    while not case.download.done:
        now += SILENCE_S[1]
        case.download.wake(now)
        for topic in sorted(case.link.topics - {MANIFEST_TOPIC}):
            case.give(int(topic.rpartition("/")[2]), now)
    assert case.download.done.read_bytes() == b"".join(CHUNKS)
