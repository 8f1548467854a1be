# SPDX-License-Identifier: Apache-2.0
"""The three tables: what each has, and that everything else is an error."""

from itertools import product

import pytest

from fedagent.aggregator.tables import (
    PART_TABLE,
    ROUND_TABLE,
    STUDY_TABLE,
    PartEvent,
    PartPhase,
    RoundEvent,
    RoundPhase,
    StudyEvent,
    StudyPhase,
    advance,
)
from fedagent.errors import TransitionError

FROM_SITES = (PartEvent.JOIN, PartEvent.OFFER, PartEvent.DECLINE)
IN_ROUND = tuple(phase for phase in PartPhase if phase not in (PartPhase.FOLDED, PartPhase.LATE))


@pytest.mark.parametrize(("phase", "event"), list(product(IN_ROUND, FROM_SITES)))
def test_whatever_a_site_may_send_has_an_entry_while_the_round_is_open(
    phase: PartPhase, event: PartEvent
) -> None:
    assert (phase, event) in PART_TABLE


@pytest.mark.parametrize("phase", IN_ROUND)
def test_a_round_can_close_whatever_each_part_is_in(phase: PartPhase) -> None:
    assert advance(PART_TABLE, phase, PartEvent.CLOSE) in (
        PartPhase.LATE,
        PartPhase.DECLINED,
        PartPhase.REFUSED,
    )


@pytest.mark.parametrize(("phase", "event"), list(product((PartPhase.FOLDED, PartPhase.LATE), PartEvent)))
def test_nothing_moves_a_part_of_a_closed_round(phase: PartPhase, event: PartEvent) -> None:
    with pytest.raises(TransitionError, match=phase):
        advance(PART_TABLE, phase, event)


@pytest.mark.parametrize("phase", [phase for phase in PartPhase if phase is not PartPhase.STORED])
def test_only_a_stored_update_is_folded(phase: PartPhase) -> None:
    with pytest.raises(TransitionError):
        advance(PART_TABLE, phase, PartEvent.FOLD)


@pytest.mark.parametrize(
    "phase", [phase for phase in PartPhase if phase not in (PartPhase.OFFERED, PartPhase.STORED)]
)
def test_only_an_offered_update_is_stored(phase: PartPhase) -> None:
    with pytest.raises(TransitionError):
        advance(PART_TABLE, phase, PartEvent.STORE)


@pytest.mark.parametrize(("phase", "event"), list(product(RoundPhase, RoundEvent)))
def test_a_round_moves_as_its_table_says_and_else_not(phase: RoundPhase, event: RoundEvent) -> None:
    lawful = {
        (RoundPhase.OPEN, RoundEvent.FILL),
        (RoundPhase.OPEN, RoundEvent.EXTEND),
        (RoundPhase.OPEN, RoundEvent.STOP),
        (RoundPhase.CLOSING, RoundEvent.REFOLD),
        (RoundPhase.CLOSING, RoundEvent.REOPEN),
        (RoundPhase.CLOSING, RoundEvent.CLOSE),
        (RoundPhase.CLOSING, RoundEvent.STOP),
    }
    if (phase, event) in lawful:
        assert advance(ROUND_TABLE, phase, event) in RoundPhase
    else:
        with pytest.raises(TransitionError):
            advance(ROUND_TABLE, phase, event)


@pytest.mark.parametrize("phase", [StudyPhase.ENDED, StudyPhase.STOPPED, StudyPhase.FAILED])
def test_a_study_that_is_over_does_not_start_again(phase: StudyPhase) -> None:
    with pytest.raises(TransitionError):
        advance(STUDY_TABLE, phase, StudyEvent.START)
