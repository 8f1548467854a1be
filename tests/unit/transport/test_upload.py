# SPDX-License-Identifier: Apache-2.0
"""An update on its way up."""

from pathlib import Path

import pytest

from fedagent.errors import StorageError
from fedagent.transport.upload import Upload
from fedagent.wire.manifest import Manifest, blob_digest, chunk_message
from tests.fakes.blobs import blob_of
from tests.fakes.link import FakeLink

TOPIC = "fedagent/v1/up/clinic-a/heart/chunk"


class Case:
    def __init__(self, folder: Path) -> None:
        self.manifest: Manifest
        self.manifest, self.chunks = blob_of(6)
        self.path = folder / "blob"
        self.path.write_bytes(b"".join(self.chunks))
        self.link = FakeLink()
        self.upload = Upload(
            blob_digest(self.manifest),
            self.manifest,
            self.path,
            study="heart",
            site="clinic-a",
            link=self.link,
            window=2,
        )

    def messages(self, *indices: int) -> list[tuple[str, bytes]]:
        digest = blob_digest(self.manifest)
        return [(TOPIC, chunk_message(digest, index, self.chunks[index])) for index in indices]


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_nothing_is_sent_without_a_grant(case: Case) -> None:
    case.upload.pump()
    assert case.link.take() == []


def test_what_was_granted_is_sent_in_that_order_as_there_is_room(case: Case) -> None:
    case.upload.granted((5, 0, 3))
    case.upload.pump()
    assert case.link.take() == case.messages(5, 0)
    case.upload.pump()
    assert case.link.take() == case.messages(3)
    case.upload.pump()
    assert case.link.take() == []


def test_a_chunk_that_is_granted_twice_while_it_waits_is_sent_once(case: Case) -> None:
    case.link.unacknowledged = 2
    case.upload.granted((1,))
    case.upload.granted((1,))
    case.link.take()
    case.upload.pump()
    assert case.link.take() == case.messages(1)


def test_a_chunk_that_is_granted_again_is_sent_again(case: Case) -> None:
    for _ in range(2):
        case.upload.granted((1,))
        case.upload.pump()
        assert case.link.take() == case.messages(1)


def test_grants_wait_for_the_connection(case: Case) -> None:
    case.link.connected = False
    case.upload.granted((0,))
    case.upload.pump()
    case.link.connected = True
    case.upload.pump()
    assert case.link.take() == case.messages(0)


def test_a_grant_past_the_end_is_ignored(case: Case) -> None:
    case.upload.granted((6, 1000, 2))
    case.upload.pump()
    assert case.link.take() == case.messages(2)


def test_a_blob_that_vanished_is_an_error(case: Case) -> None:
    case.path.unlink()
    case.upload.granted((0,))
    with pytest.raises(StorageError):
        case.upload.pump()
