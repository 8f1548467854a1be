# SPDX-License-Identifier: Apache-2.0
"""Whatever the reason is, there is a condition for it."""

from fedagent.conditions.condition import Said, Severity
from fedagent.conditions.site import NOT_FINITE
from fedagent.core.reasons import REASONS, in_words
from fedagent.wire.messages import Reason


def test_every_reason_has_a_condition_and_each_has_its_own() -> None:
    assert REASONS.keys() == set(Reason)
    assert len({each.code for each in REASONS.values()}) == len(Reason)
    assert {each.severity for each in REASONS.values()} == {Severity.WARNING}


def test_a_reason_has_our_words_where_nobody_else_gave_any() -> None:
    assert in_words(Reason.NOT_FINITE) == NOT_FINITE()
    assert in_words(Reason.NOT_FINITE, "the loss is NaN") == Said(NOT_FINITE.code, "the loss is NaN")
    assert in_words(Reason.NOT_FINITE, "the loss is NaN", "FA5001") == Said("FA5001", "the loss is NaN")
