# SPDX-License-Identifier: Apache-2.0
"""Which updates are expected, and what becomes of their bytes."""

from pathlib import Path

import pytest

from fedagent.aggregator.intake import Expected, Intake
from fedagent.storage.blobs import BlobFolder
from fedagent.transport.collect import Collector
from fedagent.wire.manifest import Manifest, blob_digest, chunk_message
from tests.fakes.blobs import blob_of


class Case:
    """An intake; ``again`` is the same after a restart of the aggregator."""

    def __init__(self, folder: Path) -> None:
        self.folder = BlobFolder(folder)
        self.intake = self.again()

    def again(self) -> Intake:
        self.intake = Intake(self.folder, Collector(self.folder, window=4))
        return self.intake

    def take(self, manifest: Manifest, chunks: list[bytes], *indices: int) -> list[Expected | None]:
        digest = blob_digest(manifest)
        return [
            self.intake.chunk("north", "heart", chunk_message(digest, index, chunks[index]), 0.0)
            for index in indices
        ]


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path / "updates")


def test_an_update_that_is_whole_already_is_not_granted(case: Case) -> None:
    manifest, chunks = blob_of(2)
    assert not case.intake.expect("north", "heart", 1, manifest, 0.0)
    assert case.take(manifest, chunks, 0, 1) == [None, Expected(1, manifest)]
    assert case.intake.expect("north", "heart", 1, manifest, 1.0)
    assert case.intake.grants(1.0) == []
    assert case.again().expect("north", "heart", 1, manifest, 2.0)
    assert case.intake.path(blob_digest(manifest)) is not None


def test_a_sweep_deletes_whole_and_half_updates_that_no_round_waits_for(case: Case) -> None:
    (waited, waited_chunks), (left, left_chunks), (whole, whole_chunks) = (
        blob_of(2, seed) for seed in range(3)
    )
    for manifest, chunks, indices in ((whole, whole_chunks, (0, 1)), (left, left_chunks, (0,))):
        case.again().expect("north", "heart", 1, manifest, 0.0)
        case.take(manifest, chunks, *indices)
    case.again().expect("north", "heart", 2, waited, 0.0)
    case.take(waited, waited_chunks, 0)
    case.again().sweep({blob_digest(waited)})
    assert case.folder.digests() == frozenset()
    assert case.folder.unfinished() == {blob_digest(waited)}


def test_a_forgotten_update_is_granted_no_more_and_leaves_no_byte(case: Case) -> None:
    manifest, chunks = blob_of(2)
    case.intake.expect("north", "heart", 1, manifest, 0.0)
    case.take(manifest, chunks, 0)
    case.intake.forget("north", "heart", blob_digest(manifest))
    assert case.intake.grants(100.0) == []
    assert case.folder.unfinished() == frozenset()
