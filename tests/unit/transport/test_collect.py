# SPDX-License-Identifier: Apache-2.0
"""Updates on their way in."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedagent.errors import WireError
from fedagent.storage.blobs import BlobFolder
from fedagent.transport.collect import OVERDUE_S, Collector
from fedagent.wire.manifest import blob_digest, chunk_message
from tests.fakes.blobs import CHUNK, blob_of

COUNT = 6


class Case:
    """A collector and the updates of as many sites as a test names."""

    def __init__(self, folder: Path, maximum: int = 256, window: int = 4) -> None:
        self.folder = BlobFolder(folder)
        self.maximum, self.window = maximum, window
        self.collector = Collector(self.folder, maximum, window)

    def restart(self) -> None:
        self.collector = Collector(self.folder, self.maximum, self.window)

    def offer(self, number: int, now: float = 0.0) -> Path | None:
        return self.collector.offer(f"site-{number}", "heart", blob_of(COUNT, number)[0], now)

    def give(self, number: int, index: int, now: float = 0.0) -> Path | None:
        manifest, chunks = blob_of(COUNT, number)
        payload = chunk_message(blob_digest(manifest), index, chunks[index])
        return self.collector.chunk(f"site-{number}", "heart", payload, now)

    def granted(self, now: float = 0.0) -> dict[str, tuple[int, ...]]:
        return {site: chunks for site, _, _, chunks, _ in self.collector.grants(now)}


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path / "blobs")


def test_an_offer_is_answered_with_a_window_of_grants(case: Case) -> None:
    case.offer(1)
    (grant,) = case.collector.grants(0.0)
    assert grant == ("site-1", "heart", blob_digest(blob_of(COUNT, 1)[0]), (0, 1, 2, 3), 0)
    assert case.granted() == {}
    assert case.collector.outstanding == 4


def test_more_is_granted_when_half_of_the_window_is_stored(case: Case) -> None:
    case.offer(1)
    case.granted()
    case.give(1, 2)
    assert case.granted() == {}
    case.give(1, 0)
    assert case.granted() == {"site-1": (4, 5)}


def test_the_last_chunk_gives_the_file(case: Case) -> None:
    case.offer(1)
    for index in range(COUNT - 1):
        assert case.give(1, index) is None
    path = case.give(1, COUNT - 1)
    assert path == case.folder.path(blob_digest(blob_of(COUNT, 1)[0]))
    assert path
    assert path.read_bytes() == b"".join(blob_of(COUNT, 1)[1])
    assert case.give(1, 0) is None
    assert (case.granted(), case.collector.outstanding) == ({}, 0)


def test_an_update_that_is_here_already_is_complete_at_its_offer(case: Case) -> None:
    case.folder.add_file(blob_of(COUNT, 1)[1], CHUNK)
    assert case.offer(1)
    assert case.granted() == {}


def test_chunks_that_come_twice_or_were_not_granted_do_no_harm(case: Case) -> None:
    case.offer(1)
    case.granted()
    for index in (5, 5, 0):
        assert case.give(1, index) is None
    assert case.granted() == {}
    case.give(1, 1)
    assert case.granted() == {"site-1": (4,)}


def test_chunks_of_nobody_and_of_another_update_are_ignored(case: Case) -> None:
    assert case.give(1, 0) is None
    case.offer(1)
    manifest, chunks = blob_of(COUNT, 2)
    payload = chunk_message(blob_digest(manifest), 0, chunks[0])
    for wrong in (payload, b"", b"x" * 10):
        assert case.collector.chunk("site-1", "heart", wrong, 0.0) is None


def test_a_wrong_chunk_is_refused_with_its_site_and_index_and_granted_again(case: Case) -> None:
    case.offer(1)
    case.granted()
    blob = blob_digest(blob_of(COUNT, 1)[0])
    with pytest.raises(WireError) as caught:
        case.collector.chunk("site-1", "heart", chunk_message(blob, 3, b"wrong"), 0.0)
    where = f"chunk 3 of blob {blob.hex()[:12]}"
    assert str(caught.value) == (
        f"site site-1, study heart: wrong chunk 3 ({where} has 5 bytes, not 65536 (at $)) (at chunk)"
    )
    for index in (0, 1, 2):
        case.give(1, index)
    assert case.granted() == {"site-1": (4, 5)}
    assert case.granted(OVERDUE_S[0]) == {"site-1": (3, 4, 5)}


def test_grants_that_stay_out_are_given_again_at_growing_intervals(case: Case) -> None:
    case.offer(1)
    case.granted()
    now, gaps = 0.0, []
    for _ in range(7):
        due = case.collector.wake()
        assert due
        assert case.granted(due - 0.001) == {}
        assert case.granted(due) == {"site-1": (0, 1, 2, 3)}
        gaps.append(due - now)
        now = due
    assert gaps == [10.0, 20.0, 40.0, 80.0, 160.0, 160.0, 160.0]
    assert gaps[0] == OVERDUE_S[0]


def test_a_repeated_offer_is_granted_anew_at_once(case: Case) -> None:
    case.offer(1)
    case.granted()
    case.give(1, 1)
    case.offer(1)
    assert case.granted() == {"site-1": (0, 2, 3, 4)}


def test_an_offer_after_a_restart_goes_on_with_what_is_on_the_disk(case: Case) -> None:
    case.offer(1)
    for index in range(4):
        case.give(1, index)
    case.restart()
    case.offer(1)
    ((_, _, _, chunks, stored),) = case.collector.grants(0.0)
    assert (chunks, stored) == ((4, 5), 4)


def test_another_update_takes_the_place_of_the_first(case: Case) -> None:
    case.offer(1)
    case.give(1, 0)
    manifest, _ = blob_of(COUNT, 9)
    case.collector.offer("site-1", "heart", manifest, 0.0)
    assert case.folder.unfinished() == {blob_digest(manifest)}


def test_nothing_is_left_of_a_dropped_update(case: Case) -> None:
    case.offer(1)
    case.granted()
    case.give(1, 0)
    case.collector.drop("site-1", "heart")
    case.collector.drop("site-2", "heart")
    assert (case.collector.outstanding, case.folder.unfinished()) == (0, frozenset())
    assert case.collector.wake() is None


def test_credit_is_bounded_over_all_sites_and_everybody_gets_a_turn(tmp_path: Path) -> None:
    case = Case(tmp_path / "blobs", maximum=6, window=4)
    for number in range(4):
        case.offer(number)
    assert case.granted() == {"site-0": (0, 1, 2, 3), "site-1": (0, 1)}
    assert case.granted() == {}
    for index in range(4):
        case.give(0, index)
    assert case.granted() == {"site-2": (0, 1, 2, 3)}
    for index in range(2):
        case.give(1, index)
    assert case.granted() == {"site-3": (0, 1)}
    for index in range(4):
        case.give(2, index)
    assert case.granted() == {"site-0": (4, 5), "site-1": (2, 3)}


def test_a_dead_site_does_not_hold_the_credit_for_ever(tmp_path: Path) -> None:
    case = Case(tmp_path / "blobs", maximum=4, window=4)
    case.offer(1)
    case.offer(2)
    assert list(case.granted()) == ["site-1"]
    assert list(case.granted(OVERDUE_S[0])) == ["site-2"]


class Play:
    """Three sites with one collector, through whatever a test draws."""

    def __init__(self, case: Case) -> None:
        self.case, self.now = case, 0.0
        self.whole: set[int] = set()
        self.waiting: dict[int, list[int]] = {number: [] for number in range(3)}
        for number in self.waiting:
            case.offer(number)

    def look(self) -> None:
        for site, chunks in self.case.granted(self.now).items():
            self.waiting[int(site[-1])] += chunks
        assert self.case.collector.outstanding <= self.case.maximum

    def give(self, number: int) -> None:
        if self.waiting[number] and self.case.give(number, self.waiting[number].pop(0), self.now):
            self.whole.add(number)

    def lose(self, number: int) -> None:
        self.waiting[number].clear()

    def offer(self, number: int) -> None:
        if number not in self.whole:
            self.case.offer(number, self.now)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([Play.give, Play.give, Play.lose, Play.offer]),
            st.integers(0, 2),
            st.floats(0, 20),
        )
    )
)
def test_the_bound_holds_whatever_happens_and_every_update_arrives(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[Callable[[Play, int], None], int, float]]
) -> None:
    play = Play(Case(tmp_path_factory.mktemp("blobs"), maximum=5, window=3))
    for what, number, later in events:
        what(play, number)
        play.now += later
        play.look()
    for _ in range(100):
        play.now += OVERDUE_S[1]
        play.look()
        for number, waiting in play.waiting.items():
            for _ in tuple(waiting):
                play.give(number)
    assert play.whole == {0, 1, 2}
