# SPDX-License-Identifier: Apache-2.0
"""A model on its way to every site."""

import logging

import pytest

from fedagent.conditions.condition import Said
from fedagent.errors import WireError
from fedagent.transport.shared import ACTIVE_S, ASKS, GATHER_S, SharedPublisher
from fedagent.wire.topics import chunk_topic, manifest_topic
from tests.fakes.link import FakeLink

A, B = b"a" * 32, b"b" * 32


def read_chunk(blob: bytes, index: int) -> bytes:
    if index >= 1000:
        raise WireError(Said("", f"blob {blob.hex()[:12]} has no chunk {index}"))
    return b"%s%d" % (blob[:1], index)


class Case:
    def __init__(self) -> None:
        self.link = FakeLink()
        self.publisher = SharedPublisher(self.link, read_chunk, lambda blob: b"manifest of " + blob, window=4)

    def published(self, now: float) -> list[str]:
        """The topics that a pump now publishes, with all the room that it wants."""
        topics: list[str] = []
        while True:
            self.publisher.pump(now)
            taken = self.link.take()
            if not taken:
                return topics
            topics += [topic for topic, _ in taken]


@pytest.fixture
def case() -> Case:
    return Case()


def test_a_single_site_is_served_at_once(case: Case) -> None:
    case.publisher.want("one", A, (3, 4), now=0.0)
    case.publisher.pump(0.0)
    assert case.link.take() == [(chunk_topic(A, 3), b"a3"), (chunk_topic(A, 4), b"a4")]
    assert case.publisher.pump(0.0) is None


def test_a_chunk_that_all_active_sites_want_is_published_once(case: Case) -> None:
    case.publisher.want("one", A, (0, 1), now=0.0)
    case.publisher.want("two", A, (1, 0), now=0.0)
    assert case.published(0.0) == [chunk_topic(A, 0), chunk_topic(A, 1)]


def test_a_chunk_waits_for_the_other_sites_but_not_long(case: Case) -> None:
    case.publisher.want("two", A, (9,), now=0.0)
    case.published(0.0)
    case.publisher.want("one", A, (0,), now=0.01)
    assert case.publisher.pump(0.01) == pytest.approx(0.01 + GATHER_S)
    assert case.link.take() == []
    assert case.published(0.01 + GATHER_S) == [chunk_topic(A, 0)]


def test_a_site_that_fell_behind_is_not_waited_for(case: Case) -> None:
    case.publisher.want("two", A, (9,), now=0.0)
    case.published(0.0)
    case.publisher.want("one", A, (0,), now=ACTIVE_S)
    assert case.published(ACTIVE_S) == [chunk_topic(A, 0)]


def test_sites_of_another_model_are_not_waited_for(case: Case) -> None:
    case.publisher.want("two", B, (9,), now=0.0)
    case.publisher.want("one", A, (0,), now=0.0)
    assert case.published(0.0) == [chunk_topic(B, 9), chunk_topic(A, 0)]


def test_a_late_site_gets_its_own(case: Case) -> None:
    for site in ("one", "two"):
        case.publisher.want(site, A, (0,), now=0.0)
        assert case.published(GATHER_S) == [chunk_topic(A, 0)]


def test_the_manifest_waits_for_nobody(case: Case) -> None:
    case.publisher.want("two", A, (9,), now=0.0)
    case.published(0.0)
    case.publisher.want("one", A, (), now=0.0)
    case.publisher.pump(0.0)
    assert case.link.take() == [(manifest_topic(A), b"manifest of " + A)]


def test_no_more_is_handed_over_than_the_window(case: Case) -> None:
    case.publisher.want("one", A, tuple(range(6)), now=0.0)
    assert case.publisher.pump(0.0) is None
    assert case.link.unacknowledged == 4
    assert len(case.published(0.0)) == 6


def test_a_site_that_is_gone_is_not_served(case: Case) -> None:
    case.publisher.want("one", A, (0, 1), now=0.0)
    case.publisher.want("two", A, (1,), now=0.0)
    case.publisher.gone("one")
    assert case.published(0.0) == [chunk_topic(A, 1)]


def test_one_site_cannot_fill_the_memory(case: Case) -> None:
    for start in range(0, 900, 100):
        case.publisher.want("greedy", A, tuple(range(start, start + 100)), now=0.0)
    case.publisher.want("modest", B, (0,), now=0.0)
    assert len(case.published(GATHER_S)) == ASKS + 1


def test_a_chunk_that_is_not_there_is_told_and_skipped(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    case.publisher.want("one", A, (1000, 1), now=0.0)
    assert case.published(0.0) == [chunk_topic(A, 1)]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_what_was_wanted_before_an_outage_is_forgotten(case: Case) -> None:
    case.publisher.want("one", A, (0,), now=0.0)
    case.link.connected = False
    assert case.publisher.pump(0.0) is None
    case.link.connected = True
    assert case.published(1.0) == []
