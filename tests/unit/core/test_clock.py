# SPDX-License-Identifier: Apache-2.0
import pytest

from fedagent.core.clock import JUMP_S, jump_s, offset_s
from fedagent.core.facts import Instant


def test_nobody_knows_of_a_jump_before_the_first_look() -> None:
    assert jump_s(None, Instant(100.0, 5000.0)) == 0.0


@pytest.mark.parametrize(
    ("set_by", "jumped"),
    [
        (86_400.0, 86_400.0),
        (-86_400.0, -86_400.0),
        (JUMP_S, JUMP_S),
        (JUMP_S - 0.5, 0.0),
        (0.5 - JUMP_S, 0.0),
    ],
    ids=["a day ahead", "a day back", "just a jump", "a correction", "a correction back"],
)
def test_a_clock_that_was_set_is_told_from_one_that_is_corrected(set_by: float, jumped: float) -> None:
    before = offset_s(Instant(100.0, 5000.0))
    assert jump_s(before, Instant(700.0, 5600.0 + set_by)) == jumped
