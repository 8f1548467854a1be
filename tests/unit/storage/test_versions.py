# SPDX-License-Identifier: Apache-2.0
"""Small files of a newer version are refused in so many words, whatever else is new in them; nothing is changed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from fedagent.errors import StorageError
from fedagent.storage.versions import refuse_newer
from fedagent.trainer.rounds import RoundLedger
from fedagent.trainer.snapshots import SnapshotStore

DIGEST: Final = "ab" * 32
NEWER: Final = json.dumps({"version": 2, "something": "new"})


def ledger(folder: Path) -> Path:
    (folder / "rounds.json").write_text(NEWER)
    return folder / "rounds.json"


def note(folder: Path) -> Path:
    (folder / "heart").mkdir()
    (folder / "heart" / "current").write_text(f"{DIGEST}\n")
    (folder / "heart" / f"{DIGEST}.json").write_text(NEWER)
    return folder / "heart" / f"{DIGEST}.json"


@pytest.mark.parametrize(
    ("write", "read"),
    [
        (ledger, lambda folder: RoundLedger(folder / "rounds.json")),
        (note, lambda folder: SnapshotStore(folder).all()),
    ],
    ids=["ledger", "snapshot"],
)
def test_a_newer_file_is_refused_and_stays(
    state_folder: Path, write: Callable[[Path], Path], read: Callable[[Path], object]
) -> None:
    path = write(state_folder)
    before = {each: each.read_bytes() for each in state_folder.rglob("*") if each.is_file()}
    with pytest.raises(StorageError) as refused:
        read(state_folder)
    said = "was written by a newer fedagent (state version 2, this one knows 1): nothing was changed; upgrade again"
    assert str(refused.value) == f"{path} {said}"
    assert refused.value.exit_code == 78
    assert {each: each.read_bytes() for each in state_folder.rglob("*") if each.is_file()} == before


@pytest.mark.parametrize("data", [b"{", b"\xff", b"[]", b'{"version": "2"}', b'{"version": 1}'])
def test_what_is_not_newer_is_for_the_reader(data: bytes) -> None:
    refuse_newer(Path("file"), data, 1)
