# SPDX-License-Identifier: Apache-2.0
"""Root's word covers one exact study, and no more rounds than it says."""

import msgspec
import pytest

from fedagent.conditions.site import BEYOND_APPROVAL, CHANGED_SINCE_APPROVAL, NOT_APPROVED
from fedagent.core.approval import Approval, objection
from fedagent.wire.messages import RoundKind
from fedagent.wire.study import study_digest
from tests.fakes.examples import OTHER_STUDY, STUDY

APPROVAL = Approval(
    study="heart-1",
    digest=study_digest(STUDY).hex(),
    dataset="cardiology",
    approved_by="root",
    approved_at="2026-03-01T12:00:00+00:00",
)


@pytest.mark.parametrize("round_number", [1, 10])
def test_an_approved_study_may_train(round_number: int) -> None:
    assert objection(STUDY, round_number, APPROVAL, RoundKind.EVALUATE) is None


def test_without_an_approval_nothing_may() -> None:
    assert objection(STUDY, 1, None, RoundKind.EVALUATE) == NOT_APPROVED(study="heart-1")


@pytest.mark.parametrize(
    "study",
    [
        msgspec.structs.replace(STUDY, seed=43),
        msgspec.structs.replace(STUDY, purpose="Something else."),
        msgspec.structs.replace(STUDY, federation=msgspec.structs.replace(STUDY.federation, rounds=11)),
        OTHER_STUDY,
    ],
    ids=["seed", "purpose", "rounds", "another study"],
)
def test_a_study_that_was_changed_is_not_approved(study: object) -> None:
    changed = msgspec.convert(study, type(STUDY))
    assert objection(changed, 1, APPROVAL, RoundKind.EVALUATE) == CHANGED_SINCE_APPROVAL(study=changed.name)


def test_the_right_digest_under_another_name_is_no_approval() -> None:
    assert (
        objection(STUDY, 1, msgspec.structs.replace(APPROVAL, study="heart-2"), RoundKind.EVALUATE)
        is not None
    )


@pytest.mark.parametrize(
    ("rounds", "round_number", "allowed"),
    [
        (None, 10, True),
        (None, 12, False),
        (5, 5, True),
        (5, 7, False),
        (100, 50, True),
        (1, 1, True),
        (1, 3, False),
    ],
)
def test_rounds_end_where_the_approval_does(rounds: int | None, round_number: int, *, allowed: bool) -> None:
    approval = msgspec.structs.replace(APPROVAL, rounds=rounds)
    beyond = BEYOND_APPROVAL(round=round_number, study="heart-1", rounds=rounds or STUDY.federation.rounds)
    assert objection(STUDY, round_number, approval, RoundKind.EVALUATE) == (None if allowed else beyond)


@pytest.mark.parametrize(
    ("kind", "round_number", "allowed"),
    [
        (RoundKind.TRAIN, 10, True),
        (RoundKind.TRAIN, 11, False),
        (RoundKind.EVALUATE, 11, True),
        (RoundKind.EVALUATE, 12, False),
    ],
)
def test_the_round_after_the_last_may_only_evaluate(
    kind: RoundKind, round_number: int, *, allowed: bool
) -> None:
    assert (objection(STUDY, round_number, APPROVAL, kind) is None) == allowed


@pytest.mark.parametrize("digest", ["", "ab" * 31, "AB" * 32, "ab" * 32 + "\n", "zz" * 32])
def test_a_digest_is_sixty_four_digits(digest: str) -> None:
    fields = msgspec.to_builtins(APPROVAL) | {"digest": digest}
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(fields, Approval)
