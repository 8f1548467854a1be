# SPDX-License-Identifier: Apache-2.0
"""When a site joins a round: root's approval, and the key of the trainer that came up."""

from collections.abc import Callable

import msgspec
import pytest

from fedagent.conditions.site import NOT_APPROVED, OBSERVING
from fedagent.core import commands as do
from fedagent.core.round import Phase
from fedagent.core.state import AgentState, StudyState
from fedagent.wire import messages as m
from fedagent.wire.study import study_digest
from tests.fakes.scenes import (
    BY_PHASE,
    KEY,
    NAME,
    STUDY,
    announcement,
    approvals,
    at,
    came,
    decline,
    delivered,
    fetching,
    heard,
    joined,
    known,
    model_key,
    named,
    only,
    play,
    ready,
    sending,
    site,
    told,
)

OTHER_KEY = b"\x08" + bytes(31)
OPENED = ["strike heart-1/join", "strike heart-1/offer", "strike heart-1/decline", "drop blobs"]
JOINED = ["strike heart-1/decline", "post heart-1/join"]


def the(state: AgentState) -> StudyState:
    return state.studies[NAME]


# --- approvals ------------------------------------------------------------------------------------------------------


def test_a_study_that_waits_for_its_approval_says_how_to_give_it_once() -> None:
    state, done = play(known(), [heard(announcement()), approvals(), approvals()])
    warnings = [each for each in only(do.Tell, done) if each.reason == "approval"]
    assert [each.said for each in warnings] == [the(state).note]
    assert (
        str(the(state).note)
        == "study heart-1 is not approved here; sudo fedagent study approve heart-1 --dataset NAME"
    )


def test_an_approved_study_knows_its_dataset() -> None:
    assert the(joined()).dataset == "cardiology"


def test_a_study_can_be_approved_before_it_is_announced() -> None:
    state, done = play(known(), [approvals(STUDY), heard(announcement())], expect=[*OPENED, *JOINED])
    (join,) = [each.message for each in only(do.Post, done)]
    assert join == m.Join(study=NAME, round=1, study_digest=study_digest(STUDY), trainer_key=KEY)
    assert str(the(state).note) == "waits for the model's key"


def test_an_approval_that_is_given_again_takes_the_decline_back() -> None:
    state, _ = play(ready(), [approvals()])
    assert (the(state).trainer_key, the(state).model_key) == (b"", b"")
    play(state, [approvals(STUDY)], expect=["strike heart-1/decline", "post heart-1/join"])


def test_an_approval_that_is_given_again_forgives_the_deaths() -> None:
    died = msgspec.structs.replace(the(ready()), deaths=2)
    state, _ = play(msgspec.structs.replace(ready(), studies={NAME: died}), [approvals(), approvals(STUDY)])
    assert the(state).deaths == 0


def test_what_was_revoked_is_declined_with_its_reason() -> None:
    state, done = play(ready(), [approvals()])
    (posted,) = [each.message for each in only(do.Post, done)]
    assert posted == decline(m.Reason.REVOKED)
    assert the(state).note == NOT_APPROVED(study=NAME)
    assert [(each.said, each.reason) for each in only(do.Tell, done)] == [(the(state).note, "revoked")]


def test_an_approval_for_fewer_rounds_ends_with_them_and_one_evaluation() -> None:
    state, _ = play(known(), [approvals(STUDY, rounds=1), heard(announcement(1)), heard(announcement(2))])
    assert the(state).phase is Phase.UNAPPROVED
    assert (
        str(the(state).note)
        == "round 2 of study heart-1 is beyond the approved 1 rounds; approve it anew to allow more"
    )
    last = announcement(2, round_kind=m.RoundKind.EVALUATE)
    state, _ = play(known(), [approvals(STUDY, rounds=1), heard(announcement(1)), heard(last)])
    assert the(state).phase is Phase.JOINING


def test_a_site_that_observes_never_joins() -> None:
    observing = msgspec.structs.replace(known(), observe=True)
    state, done = play(
        observing, [approvals(STUDY), heard(announcement())], expect=[*OPENED, "send progress"]
    )
    assert the(state).note == OBSERVING()
    (waits,) = [each.message for each in only(do.Send, done)]
    assert waits == m.Progress(study=NAME, round=1, phase="waiting for approval")
    assert str(OBSERVING()) in told(done)


@pytest.mark.parametrize("phase", [Phase.JOINING, Phase.FETCHING, Phase.READY, Phase.TRAINING])
def test_a_site_that_began_to_observe_gives_its_work_up(phase: Phase) -> None:
    state, _ = play(msgspec.structs.replace(BY_PHASE[phase](), observe=True), [approvals(STUDY)])
    assert (the(state).phase, the(state).note) == (Phase.UNAPPROVED, OBSERVING())


def test_each_study_is_approved_for_itself() -> None:
    lung = named("lung-1")
    state, _ = play(known(), [heard(announcement()), heard(announcement(1, lung)), approvals(lung)])
    assert {name: study.phase for name, study in state.studies.items()} == {
        "heart-1": Phase.UNAPPROVED,
        "lung-1": Phase.JOINING,
    }


# --- the trainer's key ----------------------------------------------------------------------------------------------


def begun() -> AgentState:
    """Approved, and the first trainer is on its way."""
    state, _ = play(site(), [approvals(STUDY), heard(announcement())])
    assert str(the(state).note) == "waits for the trainer to come up once"
    return starts(state)


def starts(state: AgentState) -> AgentState:
    trainer = msgspec.structs.replace(state.trainer, stage="starting", since=at(0).monotonic)
    return msgspec.structs.replace(
        state, trainer=msgspec.convert(msgspec.to_builtins(trainer), type(trainer))
    )


def test_a_key_that_nobody_asked_for_opens_nothing() -> None:
    state, _ = play(begun(), [model_key()], expect=[])
    assert the(state).phase is Phase.JOINING


def test_a_site_joins_when_its_trainer_came_up_once() -> None:
    state, _ = play(begun(), [came()], expect=JOINED)
    assert (state.record.trainer_key, the(state).trainer_key) == (KEY, KEY)


@pytest.mark.parametrize("begin", [joined, fetching, ready])
def test_a_trainer_that_lost_its_key_joins_with_the_new_one(begin: Callable[[], AgentState]) -> None:
    state, done = play(starts(begin()), [came(OTHER_KEY)], expect=JOINED)
    assert (state.record.trainer_key, the(state).trainer_key) == (OTHER_KEY, OTHER_KEY)
    assert (the(state).phase, the(state).model_key) == (Phase.JOINING, b"")
    (join,) = [each.message for each in only(do.Post, done)]
    assert isinstance(join, m.Join)
    assert join.trainer_key == OTHER_KEY


@pytest.mark.parametrize("begin", [joined, fetching, ready, sending, delivered])
def test_the_trainer_that_comes_again_changes_nothing(begin: Callable[[], AgentState]) -> None:
    before = starts(begin())
    state, _ = play(before, [came()], expect=[])
    assert state.studies == before.studies


def test_a_site_that_has_not_read_its_approvals_yet_waits_for_them() -> None:
    state, _ = play(
        starts(msgspec.structs.replace(joined(), approvals={})), [came(OTHER_KEY)], expect=["send progress"]
    )
    assert (the(state).phase, the(state).trainer_key) == (Phase.UNAPPROVED, b"")
    play(state, [approvals(STUDY)], expect=JOINED)
