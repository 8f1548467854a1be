# SPDX-License-Identifier: Apache-2.0
import itertools

import pytest

from fedagent.core.round import TABLE, Phase, Trigger, move
from fedagent.errors import TransitionError

P, T = Phase, Trigger

LEGAL: dict[tuple[Phase, Trigger], Phase] = {
    # the way of a round
    (P.UNAPPROVED, T.APPROVED): P.JOINING,
    (P.JOINING, T.KEY_CAME): P.FETCHING,
    (P.FETCHING, T.MODEL_CAME): P.READY,
    (P.READY, T.JOB_GIVEN): P.TRAINING,
    (P.TRAINING, T.UPDATE_SPOOLED): P.SPOOLED,
    (P.SPOOLED, T.RECEIPT_CAME): P.DELIVERED,
    # back
    (P.TRAINING, T.VACATED): P.READY,
    (P.READY, T.MODEL_LOST): P.FETCHING,
    (P.SPOOLED, T.UPDATE_LOST): P.READY,
    # an update that was on its way when the trainer ended
    (P.READY, T.UPDATE_SPOOLED): P.SPOOLED,
    # root takes its word back
    (P.JOINING, T.REVOKED): P.UNAPPROVED,
    (P.FETCHING, T.REVOKED): P.UNAPPROVED,
    (P.READY, T.REVOKED): P.UNAPPROVED,
    (P.TRAINING, T.REVOKED): P.UNAPPROVED,
    # we do not take part
    (P.JOINING, T.FAILED): P.DECLINED,
    (P.FETCHING, T.FAILED): P.DECLINED,
    (P.READY, T.FAILED): P.DECLINED,
    (P.TRAINING, T.FAILED): P.DECLINED,
    # the aggregator does not want us
    (P.UNAPPROVED, T.REFUSED): P.DECLINED,
    (P.JOINING, T.REFUSED): P.DECLINED,
    (P.DELIVERED, T.REFUSED): P.DECLINED,
    (P.FETCHING, T.REFUSED): P.DECLINED,
    (P.READY, T.REFUSED): P.DECLINED,
    (P.TRAINING, T.REFUSED): P.DECLINED,
    (P.SPOOLED, T.REFUSED): P.DECLINED,
} | {
    (phase, trigger): then
    for phase in Phase
    for trigger, then in ((T.ANNOUNCED, P.UNAPPROVED), (T.STUDY_ENDED, P.ENDED))
}

ILLEGAL = [pair for pair in itertools.product(Phase, Trigger) if pair not in LEGAL]


def named(pair: tuple[Phase, Trigger]) -> str:
    return f"{pair[0].value} - {pair[1].value}"


@pytest.mark.parametrize(("pair", "then"), LEGAL.items(), ids=map(named, LEGAL))
def test_a_trigger_moves_a_site_on(pair: tuple[Phase, Trigger], then: Phase) -> None:
    assert move(*pair) is then


@pytest.mark.parametrize("pair", ILLEGAL, ids=map(named, ILLEGAL))
def test_everything_else_is_an_error(pair: tuple[Phase, Trigger]) -> None:
    with pytest.raises(TransitionError, match=f"a site that is {pair[0].value!r} cannot be"):
        move(*pair)


def test_the_table_holds_nothing_more() -> None:
    assert TABLE == LEGAL


def test_every_phase_can_be_reached_and_left() -> None:
    assert set(TABLE.values()) == set(Phase)
    assert {phase for (phase, _), then in TABLE.items() if then is not phase} == set(Phase)
