# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable, Sequence

import msgspec
import pytest

from fedagent.conditions.condition import Said, Severity
from fedagent.conditions.site import CHANGED_SINCE_APPROVAL, NOT_FINITE, ROUND_CLOSED
from fedagent.conditions.table import TABLE
from fedagent.core import commands as do
from fedagent.core import events as on
from fedagent.core.participation import drop_blobs, positions
from fedagent.core.round import Phase
from fedagent.core.state import AgentState, LastError, StudyState
from fedagent.wire import messages as m
from fedagent.wire.manifest import blob_digest
from tests.fakes import examples
from tests.fakes.scenes import (
    BY_PHASE,
    EMPTY,
    GO,
    KEY,
    MANIFEST,
    NAME,
    STUDY,
    UPDATE,
    Step,
    announcement,
    approvals,
    at,
    blob_of,
    came,
    decline,
    declined,
    delivered,
    ended,
    ending,
    failed,
    fetched,
    grant,
    heard,
    model_key,
    named,
    only,
    play,
    progressed,
    ready,
    receipt,
    refusal,
    refused,
    sending,
    site,
    spooled,
    told,
    training,
    waiting,
)

ANSWERED = ["strike heart-1/join", "strike heart-1/offer", "strike heart-1/decline"]
OPENED = [*ANSWERED, "drop blobs"]
JOINED = ["strike heart-1/decline", "post heart-1/join"]
REVOKED = ["strike heart-1/join", "stop heart-1 and erase", "post heart-1/decline"]
DECLINED = ["strike heart-1/join", "post heart-1/decline"]


def the(state: AgentState) -> StudyState:
    return state.studies[NAME]


@pytest.mark.parametrize("phase", Phase)
def test_there_is_a_state_of_each_phase(phase: Phase) -> None:
    assert the(BY_PHASE[phase]()).phase is phase


# --- what each event does in each phase; where a phase is not listed, nothing ------------------------------------------

CANCELLED = [*ANSWERED, "drop blobs"]
HAD_JOB = "stop heart-1"

EFFECTS: dict[str, tuple[Step, dict[Phase, tuple[Phase, list[str]]]]] = {
    "the key comes": (model_key(), {Phase.JOINING: (Phase.FETCHING, ["strike heart-1/join", "fetch heart-1"])}),
    "another model's key comes": (
        heard(m.ModelKey(study=NAME, round=1, blob=examples.OTHER, secret=examples.SEALED)), {}),
    "another round's key comes": (model_key(3), {}),
    "the model comes": (fetched(), {Phase.FETCHING: (Phase.READY, [])}),
    "another model comes": (fetched(3), {}),
    "a study that is not known has a model": (fetched(1, named("lung-1")), {}),
    "the update is spooled": (
        spooled(),
        {Phase.READY: (Phase.SPOOLED, ["post heart-1/offer", "drop blobs"]), Phase.TRAINING: (Phase.SPOOLED, ["post heart-1/offer", "drop blobs"])}
        | {phase: (phase, ["drop blobs"]) for phase in Phase if phase not in {Phase.READY, Phase.TRAINING}}),
    "the job fails": (
        failed(),
        dict.fromkeys((Phase.JOINING, Phase.FETCHING, Phase.READY, Phase.TRAINING), (Phase.DECLINED, DECLINED))),
    "another round's job fails": (failed(3), {}),
    "the job is refused": (
        refused(),
        dict.fromkeys((Phase.JOINING, Phase.FETCHING, Phase.READY, Phase.TRAINING), (Phase.DECLINED, DECLINED))),
    "the job is refused before its round is proven": (refused(3), {Phase.TRAINING: (Phase.DECLINED, DECLINED)}),
    "chunks are granted": (grant(), {Phase.SPOOLED: (Phase.SPOOLED, ["grant heart-1"])}),
    "another update's chunks are granted": (grant(blob=examples.OTHER), {}),
    "the receipt comes": (receipt(), {Phase.SPOOLED: (Phase.DELIVERED, ["strike heart-1/offer", "drop blobs"])}),
    "another update's receipt comes": (receipt(blob=examples.OTHER), {}),
    "another round's receipt comes": (receipt(3), {}),
    "the aggregator refuses": (
        refusal(),
        dict.fromkeys((Phase.UNAPPROVED, Phase.JOINING, Phase.FETCHING, Phase.READY, Phase.SPOOLED), (Phase.DECLINED, CANCELLED))
        | {Phase.TRAINING: (Phase.DECLINED, [*CANCELLED, HAD_JOB]),
           Phase.DECLINED: (Phase.DECLINED, ["strike heart-1/decline"])}),
    "the aggregator refuses another round": (refusal(3), {}),
    "the round is cancelled": (
        heard(m.Cancel(study=NAME, round=1, reason=m.Reason.STUDY_STOPPED)),
        dict.fromkeys((Phase.UNAPPROVED, Phase.JOINING, Phase.FETCHING, Phase.READY, Phase.SPOOLED), (Phase.DECLINED, CANCELLED))
        | {Phase.TRAINING: (Phase.DECLINED, [*CANCELLED, HAD_JOB]),
           Phase.DECLINED: (Phase.DECLINED, ["strike heart-1/decline"])}),
    "root revokes": (
        approvals(),
        dict.fromkeys((Phase.JOINING, Phase.FETCHING, Phase.READY), (Phase.UNAPPROVED, REVOKED))
        | {Phase.TRAINING: (Phase.UNAPPROVED, [*REVOKED, HAD_JOB])}),
    "root approves": (approvals(STUDY), {Phase.UNAPPROVED: (Phase.JOINING, JOINED)}),
    "the next round opens": (
        heard(announcement(2)),
        {phase: (Phase.JOINING, [*OPENED, *JOINED]) for phase in Phase}
        | {Phase.UNAPPROVED: (Phase.UNAPPROVED, [*OPENED, "send progress"]), Phase.TRAINING: (Phase.JOINING, [*OPENED, *JOINED, HAD_JOB])}),
    "the study ends": (
        ending(2),
        dict.fromkeys(Phase, (Phase.ENDED, OPENED))
        | {Phase.TRAINING: (Phase.ENDED, [*OPENED, HAD_JOB]), Phase.ENDED: (Phase.ENDED, [])}),
    "an earlier round is announced": (heard(announcement(1)), {}),
    "a round for other sites is announced": (
        heard(announcement(2, named(NAME, federation=msgspec.structs.replace(STUDY.federation, sites=("b", "c"))))), {}),
}  # fmt: skip


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("what", EFFECTS)
def test_an_event_has_its_effect_in_each_phase(what: str, phase: Phase) -> None:
    event, effects = EFFECTS[what]
    then, expect = effects.get(phase, (phase, []))
    state, done = play(BY_PHASE[phase](), [event], expect=expect)
    assert the(state).phase is then
    for tell in only(do.Tell, done):
        assert (tell.study, tell.round) in {(None, None), (NAME, 1), (NAME, 2)}
        assert (tell.study == NAME) is ("study heart-1" in tell.said.text)
        assert tell.reason is not None or TABLE[tell.said.code].severity is Severity.INFO
    for fetch in only(do.Fetch, done):
        assert fetch == do.Fetch(study=NAME, reference=the(state).announcement.model)


# --- announcements --------------------------------------------------------------------------------------------------


def test_the_hello_of_the_aggregator_names_what_to_follow() -> None:
    studies = (m.OpenStudy(study="heart-1", round=3), m.OpenStudy(study="lung-1", round=1))
    play(
        site(),
        [heard(m.AggregatorHello(version="0.1.0", protocol=1, studies=studies))],
        expect=["follow study heart-1", "follow study lung-1"],
    )


@pytest.mark.parametrize("phase", Phase)
def test_a_round_that_is_announced_again_goes_on_with_the_newer_signature(phase: Phase) -> None:
    state = BY_PHASE[phase]()
    later = msgspec.structs.replace(the(state).announcement, deadline_at=1_760_000_000.0)
    again, _ = play(state, [on.MessageArrived(message=later, payload=b"newer")], expect=[])
    assert the(again) == msgspec.structs.replace(the(state), announcement=later, payload=b"newer")


def test_a_new_round_forgets_the_last_one() -> None:
    state, done = play(sending(), [(5, heard(announcement(2)))])
    study = the(state)
    assert (study.round, study.offer, study.update, study.model_key) == (2, None, b"", b"")
    assert study.rows == 242  # shown until this round has its own
    assert study.since == at(5).wall
    assert "study heart-1: round 2 of 10 is open" in told(done)


def test_a_changed_study_needs_a_new_approval() -> None:
    changed = named(NAME, purpose="Something else.")
    state, done = play(training(), [heard(announcement(2, changed))])
    assert the(state).phase is Phase.UNAPPROVED
    assert the(state).note == CHANGED_SINCE_APPROVAL(study=NAME)
    assert str(the(state).note) in told(done)


def test_the_end_of_a_study_is_told() -> None:
    _, done = play(delivered(), [ending()])
    assert "study heart-1: it has ended, 1 rounds are closed" in told(done)


def test_the_evaluation_of_the_final_model_is_told() -> None:
    _, done = play(delivered(), [heard(announcement(2, round_kind=m.RoundKind.EVALUATE))])
    assert "study heart-1: the final model is open for evaluation" in told(done)


# --- the update -----------------------------------------------------------------------------------------------------


def test_what_was_spooled_is_offered_as_the_gate_sealed_it() -> None:
    state, done = play(training(), [spooled()])
    offer = m.UpdateOffer(study=NAME, round=1, manifest=MANIFEST, secret=examples.SEALED)
    assert [each.message for each in only(do.Post, done)] == [offer]
    study = the(state)
    assert (study.offer, study.update, study.rows, study.metrics) == (offer, UPDATE, 242, examples.METRICS)
    assert "study heart-1: the update of round 1 is sealed, 300000 bytes, 242 rows" in told(done)


def test_the_result_of_an_evaluation_is_offered_without_bytes() -> None:
    state, _ = play(training(), [spooled(manifest=EMPTY)])
    assert the(state).update == blob_digest(EMPTY)


def test_an_evaluation_is_not_called_an_update() -> None:
    record = msgspec.structs.replace(site().record, trainer_key=KEY)
    last = heard(announcement(11, round_kind=m.RoundKind.EVALUATE))
    events: list[Step] = [
        *(approvals(STUDY), last, model_key(11), fetched(11)),
        *(on.Woke(), came(), progressed(11), spooled(11, manifest=EMPTY)),
        receipt(11, blob=blob_digest(EMPTY)),
    ]
    _, done = play(site(record=record, standing=GO), events)
    assert "study heart-1: the model for the evaluation is here" in told(done)
    assert "study heart-1: the evaluation of the final model is sealed, 242 rows" in told(done)
    assert told(done)[-1] == "study heart-1: the evaluation of the final model is delivered"


@pytest.mark.parametrize("message", [receipt(), refusal()], ids=["receipt", "refusal"])
def test_an_answered_update_leaves_the_spool(message: on.MessageArrived) -> None:
    state, done = play(sending(), [message])
    assert (the(state).offer, the(state).update) == (None, b"")
    (drop,) = only(do.DropBlobs, done)
    assert drop.keep == frozenset()


def test_a_grant_names_the_chunks() -> None:
    _, done = play(sending(), [grant()])
    assert only(do.Grant, done) == [do.Grant(study=NAME, blob=UPDATE, chunks=(0, 1))]


@pytest.mark.parametrize(
    ("begin", "keep"),
    [
        pytest.param(waiting, [blob_of(1)], id="the model of an open study"),
        pytest.param(training, [blob_of(1)], id="until its update is sealed"),
        pytest.param(sending, [UPDATE], id="then the update"),
        pytest.param(delivered, [], id="until it is delivered"),
        pytest.param(declined, [], id="nothing of a round that was declined"),
        pytest.param(ended, [], id="nothing of a study that has ended"),
        pytest.param(site, [], id="nothing without a study"),
    ],
)
def test_what_is_needed_stays_on_the_disk(begin: Callable[[], AgentState], keep: Sequence[bytes]) -> None:
    assert drop_blobs(begin()).keep == frozenset(keep)


# --- reasons --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "note"),
    [
        pytest.param("closed at its deadline", "closed at its deadline", id="in the aggregator's words"),
        pytest.param("", "the round is over, or was worked on already", id="in ours, where it has none"),
    ],
)
def test_a_refusal_has_a_reason(text: str, note: str) -> None:
    state, done = play(sending(), [refusal(text=text)])
    assert the(state).note == Said(ROUND_CLOSED.code, note)
    assert told(done) == [f"study heart-1: the aggregator ended our part in round 1: {note}"]


def test_a_refusal_of_a_study_that_is_not_known_changes_nothing() -> None:
    assert play(site(), [refusal()], expect=[])[0].studies == {}


def test_a_failed_job_is_declined_with_its_reason_and_the_trainers_words_stay_here() -> None:
    state, done = play(training(), [progressed(), failed()])
    (posted,) = [each.message for each in only(do.Post, done)]
    assert posted == decline(m.Reason.NOT_FINITE)
    assert the(state).note == Said(NOT_FINITE.code, "the loss is NaN")
    error = LastError(code=NOT_FINITE.code, text="the loss is NaN", at=at(0).wall)
    assert the(state).error == state.record.error == error
    assert told(done)[-1] == "study heart-1: round 1 declined: the loss is NaN"


def test_the_next_round_does_not_make_forget_what_went_wrong_in_the_last() -> None:
    before = declined()
    state, _ = play(before, [(9, heard(announcement(2)))])
    assert the(state).round == 2
    assert the(state).error == the(before).error
    assert the(state).error is not None


def test_the_position_of_a_study_is_its_round_phase_and_update() -> None:
    assert positions(sending().studies.values()) == (
        m.StudyPosition(study=NAME, round=1, phase="sending the update", update=UPDATE),
    )
    assert positions(ready().studies.values())[0].update is None


def test_a_delivered_update_that_the_fold_cannot_use_is_declined_with_its_reason() -> None:
    refused = m.Refusal(study=NAME, round=1, reason=m.Reason.NOT_FINITE, text="it holds NaN")
    state, done = play(delivered(), [heard(refused)])
    study = state.studies[NAME]
    assert (study.phase, study.note) == (Phase.DECLINED, Said(NOT_FINITE.code, "it holds NaN"))
    assert study.error == LastError(code=NOT_FINITE.code, text="it holds NaN", at=at(0).wall)
    assert told(done) == ["study heart-1: the aggregator ended our part in round 1: it holds NaN"]


def test_that_a_round_is_closed_changes_nothing_about_what_was_delivered() -> None:
    before = delivered()
    state, done = play(before, [refusal()])
    assert (state, done) == (before, [])
