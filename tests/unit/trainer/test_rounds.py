# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import msgspec
import pytest

from fedagent.errors import StorageError
from fedagent.trainer.rounds import RoundLedger, work_digest
from fedagent.wire.messages import Announcement, ModelReference, RoundKind
from tests.fakes.clinic import IDENTITY


def announcement(
    number: int = 3, *, blob: bytes = bytes(32), deadline_at: float = 0.0, seed: int = 0
) -> Announcement:
    return Announcement(
        study=msgspec.structs.replace(IDENTITY, seed=seed),
        round=number,
        round_kind=RoundKind.TRAIN,
        model=ModelReference(blob=blob, size_bytes=1, chunk_bytes=65_536, plaintext=bytes(32)),
        aggregator_key=bytes(32),
        deadline_at=deadline_at,
    )


@pytest.fixture
def ledger(tmp_path: Path) -> RoundLedger:
    """Round 3 is begun."""
    ledger = RoundLedger(tmp_path / "rounds.json")
    ledger.begin(announcement())
    return ledger


@pytest.mark.parametrize(
    ("sealed", "asked", "allowed"),
    [
        (False, announcement(2), False),
        (False, announcement(3), True),
        (False, announcement(3, blob=bytes([1] * 32)), True),
        (False, announcement(4), True),
        (False, announcement(1, seed=1), True),
        (True, announcement(2), False),
        (True, announcement(3), True),
        (True, announcement(3, deadline_at=99.0), True),
        (True, announcement(3, blob=bytes([1] * 32)), False),
        (True, announcement(4), True),
    ],
    ids=[
        "begun: older", "begun: same", "begun: same round, other model", "begun: newer", "a study made anew",
        "sealed: older", "sealed: same", "sealed: same, later deadline", "sealed: same round, other model", "sealed: newer",
    ],
)  # fmt: skip
def test_rounds_only_move_forward(
    ledger: RoundLedger, tmp_path: Path, sealed: bool, asked: Announcement, allowed: bool
) -> None:
    if sealed:
        ledger.seal(announcement())
    assert (ledger.objection(asked) is None) is allowed
    assert (RoundLedger(tmp_path / "rounds.json").objection(asked) is None) is allowed, "and after a restart"


def test_beginning_a_sealed_round_again_leaves_it_sealed(ledger: RoundLedger) -> None:
    ledger.seal(announcement())
    ledger.begin(announcement(deadline_at=99.0))
    assert ledger.objection(announcement(blob=bytes([1] * 32))) is not None


@pytest.mark.parametrize(
    "text", ["{", '{"version": 2, "rounds": {}}', '{"version": 1, "other": 1}', '{"rounds": {"a": 1}}']
)
def test_a_file_that_is_not_understood_is_an_error_and_stays(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rounds.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(StorageError, match=r"rounds\.json"):
        RoundLedger(path)
    assert path.read_text(encoding="utf-8") == text


def test_the_work_is_the_announcement_but_for_its_deadline() -> None:
    assert work_digest(announcement(deadline_at=1.0)) == work_digest(announcement(deadline_at=2.0))
    assert work_digest(announcement(3)) != work_digest(announcement(4))
    assert work_digest(announcement()) != work_digest(announcement(blob=bytes([1] * 32)))
