# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable

import msgspec
import pytest

from fedagent import VERSION
from fedagent.core import commands as do
from fedagent.core import events as on
from fedagent.core.agent import FIRST_ASK_S, LAST_ASK_S, hello, presence, resumed
from fedagent.core.governor import ManualPause, Standing
from fedagent.core.round import Phase
from fedagent.core.settings import GovernorSettings
from fedagent.core.state import AgentState, LastError, Stage
from fedagent.wire import messages as m
from fedagent.wire.values import PROTOCOL
from tests.fakes.scenes import (
    CHECKPOINTED,
    EMPTY,
    FULL,
    GO,
    LOST,
    NAME,
    NO,
    OFFLINE,
    STUDY,
    UPDATE,
    Step,
    announcement,
    approvals,
    at,
    blob_of,
    came,
    declined,
    delivered,
    ended,
    facts,
    failed,
    fetched,
    fetching,
    grant,
    heard,
    joined,
    model_key,
    named,
    only,
    play,
    progressed,
    ready,
    receipt,
    refusal,
    refused,
    sampled,
    sending,
    site,
    spooled,
    told,
    training,
    waiting,
)

GREETINGS = ["send presence", "send instance", "send hello", "repeat outbox"]
AGAIN = ["send instance", "send hello", "repeat outbox"]
AGGREGATOR_HELLO = heard(m.AggregatorHello(version="0.1.0", protocol=1))


def online(state: AgentState) -> AgentState:
    state, _ = play(state, [on.Connected()])
    return state


# --- the broker -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("begin", "expect"),
    [
        pytest.param(site, GREETINGS, id="that follows nothing"),
        pytest.param(joined, ["follow study heart-1", *GREETINGS], id="that joins"),
        pytest.param(
            fetching, ["follow study heart-1", *GREETINGS, "fetch heart-1"], id="that fetches a model"
        ),
        pytest.param(sending, ["follow study heart-1", *GREETINGS], id="that sends an update"),
    ],
)
def test_a_site_that_is_connected_says_and_asks_everything_anew(
    begin: Callable[[], AgentState], expect: list[str]
) -> None:
    state, done = play(begin(), [on.Connected()], expect=expect)
    for fetch in only(do.Fetch, done):
        assert fetch == do.Fetch(study=NAME, reference=announcement().model)
    assert state.connected
    assert told(done) == []  # the link itself says so


def test_a_site_without_a_broker_remembers_why() -> None:
    state, done = play(online(site()), [(3, OFFLINE)], expect=[])
    assert not state.connected
    assert state.record.error == LastError(code="FA4107", text=OFFLINE.reason.text, at=at(3).wall)
    assert told(done) == []  # the link itself says so


def test_training_needs_no_broker() -> None:
    state, _ = play(training(), [OFFLINE, (1, sampled(1)), spooled()])
    assert state.studies[NAME].phase is Phase.SPOOLED


# --- asking again ---------------------------------------------------------------------------------------------------


def asks(state: AgentState, script: list[Step]) -> list[float]:
    """The seconds at which the site said hello."""
    found: list[float] = []
    for each in script:
        seconds, event = each if isinstance(each, tuple) else (0.0, each)
        state, done = play(state, [(seconds, event)])
        if any(isinstance(send.message, m.SiteHello) for send in only(do.Send, done)):
            found.append(seconds)
    return found


def ticks(until: int, first: int = 0) -> list[Step]:
    return [(float(second), on.Woke()) for second in range(first, until + 1)]


@pytest.mark.parametrize("begin", [site, joined, sending, delivered, declined])
def test_a_site_that_waits_asks_again_after_twice_as_long_each_time(begin: Callable[[], AgentState]) -> None:
    assert asks(online(begin()), ticks(250)) == [2, 6, 14, 30, 62, 122, 182, 242]
    assert (FIRST_ASK_S, LAST_ASK_S) == (2.0, 60.0)


@pytest.mark.parametrize("begin", [waiting, fetching, ready, training, ended])
def test_a_site_that_waits_for_nobody_asks_once_a_minute_whether_it_missed_something(
    begin: Callable[[], AgentState],
) -> None:
    assert asks(online(begin()), ticks(200)) == [60, 120, 180]


def test_a_site_without_a_broker_does_not_ask() -> None:
    assert asks(joined(), ticks(100)) == []


def test_asking_repeats_what_is_owed() -> None:
    play(online(sending()), [(2, on.Woke())], expect=AGAIN)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(AGGREGATOR_HELLO, id="a hello"),
        pytest.param(heard(announcement()), id="the same announcement"),
        pytest.param(receipt(3), id="another round's receipt"),
    ],
)
def test_an_answer_that_brings_nothing_new_does_not_make_a_site_ask_sooner(answer: on.MessageArrived) -> None:
    answered: list[Step] = [step for second in range(65) for step in ((second, on.Woke()), (second, answer))]
    assert asks(online(sending()), answered) == [2, 6, 14, 30, 62]


def test_grants_keep_a_site_from_asking() -> None:
    granted: list[Step] = [step for second in range(30) for step in ((second, grant()), (second, on.Woke()))]
    assert asks(online(sending()), granted) == []


def test_what_brings_a_site_on_starts_its_waiting_anew() -> None:
    script: list[Step] = [*ticks(20), (20, receipt()), *ticks(30, 21)]
    assert asks(online(sending()), script) == [2, 6, 14, 22, 26]


# --- the verdict ----------------------------------------------------------------------------------------------------


def test_a_change_of_the_verdict_is_told_to_all() -> None:
    state = online(msgspec.structs.replace(fetching(), standing=GO))
    busy: list[Step] = [(second, sampled(second, cpu_others_ratio=0.5)) for second in (1, 2)]
    _, done = play(state, busy, expect=["send presence"])
    (tell,) = only(do.Tell, done)
    assert (tell.said.text, tell.reason) == ("no training: others use 50% of the CPU, above 25%", "cpu")


def test_a_change_of_the_verdict_is_told_here_where_there_is_no_broker() -> None:
    quiet: list[Step] = [(1, sampled(1)), (11, sampled(11))]
    _, done = play(fetching(), quiet, expect=[])
    (tell,) = only(do.Tell, done)
    assert (tell.said.text, tell.reason) == ("training is allowed", None)


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(on.Woke(), id="time passes"),
        pytest.param(on.Connected(), id="the broker"),
        pytest.param(came(), id="the trainer"),
        pytest.param(heard(announcement(2)), id="a message"),
    ],
)
def test_only_a_look_at_the_machine_counts_as_a_strike(event: Step) -> None:
    state = msgspec.structs.replace(fetching(), standing=GO, facts=facts(cpu_others_ratio=0.9))
    assert play(state, [event] * 3)[0].standing == GO


def test_a_pause_is_told_and_remembered() -> None:
    pause = ManualPause(by="anna", reason="MRI")
    state, done = play(msgspec.structs.replace(fetching(), standing=GO), [on.PauseAsked(pause=pause)])
    assert state.record.pause == pause
    assert told(done) == ["paused by anna: MRI", "no training: paused by anna: MRI"]
    assert not state.standing.go


def test_a_resumed_site_is_judged_like_any_other() -> None:
    state, _ = play(fetching(), [sampled(0), on.PauseAsked(pause=ManualPause(by="anna"))])
    state, done = play(state, [(1, on.ResumeAsked()), (1.5, sampled(1.5))])
    assert (state.record.pause, state.standing.go) == (None, False)
    assert told(done) == ["resumed"]
    state, _ = play(state, [(11, sampled(11))])
    assert state.standing.go


def test_a_pause_ends_by_itself() -> None:
    state, _ = play(fetching(), [on.PauseAsked(pause=ManualPause(by="anna", until=at(60).wall))])
    state, _ = play(state, [(59, sampled(59)), (60, sampled(60)), (69, sampled(69))])
    assert not state.standing.go
    assert play(state, [(70, sampled(70))])[0].standing.go


def test_new_settings_hold_at_once() -> None:
    policy = GovernorSettings(memory_available_mib=100_000)
    state = msgspec.structs.replace(training(), facts=facts())
    state, done = play(state, [on.PolicyChanged(policy=policy)], expect=["ask checkpoint"])
    assert state.policy == policy
    assert told(done)[0] == "the settings were read anew"


@pytest.mark.parametrize(
    ("standing", "verdict", "reason"),
    [
        pytest.param(GO, "go", "", id="go"),
        pytest.param(NO, "no", "others use the CPU", id="no"),
        pytest.param(FULL, "no", "no memory", id="no memory"),
    ],
)
def test_the_site_is_present_with_its_verdict(standing: Standing, verdict: str, reason: str) -> None:
    said = presence(msgspec.structs.replace(site(), standing=standing))
    assert said == m.Presence(online=True, version=VERSION, protocol=PROTOCOL, verdict=verdict, reason=reason)


def test_a_hello_says_where_the_site_stands() -> None:
    said = hello(sending())
    assert (said.version, said.protocol) == (VERSION, PROTOCOL)
    assert [(each.study, each.round, each.update) for each in said.positions] == [(NAME, 1, UPDATE)]


# --- the trainer's words --------------------------------------------------------------------------------------------


def test_the_aggregator_hears_how_far_the_job_is() -> None:
    state, done = play(training(), [progressed()], expect=["send progress"])
    (send,) = only(do.Send, done)
    assert send.message == m.Progress(
        study=NAME, round=1, phase="training", verdict="training is allowed", step=10, steps=50, loss=0.25
    )
    assert state.trainer.progress == progressed().frame


@pytest.mark.parametrize(
    ("begin", "event"),
    [
        pytest.param(training, progressed(2), id="another round"),
        pytest.param(training, progressed(1, "lung-1"), id="another study"),
        pytest.param(sending, progressed(), id="a job that is over"),
        pytest.param(site, progressed(), id="no trainer"),
    ],
)
def test_the_progress_of_what_is_not_the_job_is_nobody_s_business(
    begin: Callable[[], AgentState], event: on.TrainerSaid
) -> None:
    before = begin()
    assert play(before, [event], expect=[])[0] == before


@pytest.mark.parametrize(
    ("event", "phase", "stage"),
    [
        pytest.param(came(), Phase.TRAINING, Stage.BUSY, id="a first frame changes nothing"),
        pytest.param(CHECKPOINTED, Phase.TRAINING, Stage.BUSY, id="a checkpoint changes nothing"),
        pytest.param(failed(), Phase.DECLINED, Stage.IDLE, id="it failed"),
        pytest.param(failed(2), Phase.TRAINING, Stage.BUSY, id="another round's failed"),
        pytest.param(refused(), Phase.DECLINED, Stage.IDLE, id="it was refused"),
        pytest.param(refused(7), Phase.DECLINED, Stage.IDLE, id="it was refused, its round not proven"),
        pytest.param(refused(1, "lung-1"), Phase.TRAINING, Stage.BUSY, id="another study's was refused"),
        pytest.param(LOST, Phase.READY, Stage.ABSENT, id="the trainer ended"),
        pytest.param(refusal(), Phase.DECLINED, Stage.IDLE, id="the aggregator ended it"),
    ],
)
def test_what_happens_to_a_job(event: Step, phase: Phase, stage: Stage) -> None:
    state, _ = play(training(), [event])
    assert (state.studies[NAME].phase, state.trainer.stage) == (phase, stage)


def test_the_end_of_an_older_round_s_job_does_not_end_this_one_s() -> None:
    state, _ = play(training(), [heard(announcement(2)), model_key(2), fetched(2)])
    assert (state.trainer.stage, state.studies[NAME].phase) == (Stage.BUSY, Phase.TRAINING)
    state, _ = play(state, [spooled(1)], expect=["drop blobs"])
    assert (state.trainer.stage, state.studies[NAME].phase) == (Stage.BUSY, Phase.TRAINING)


# --- the end and the beginning --------------------------------------------------------------------------------------


def test_a_daemon_that_is_to_end_lets_its_trainer_checkpoint_first() -> None:
    state, _ = play(training(), [on.StopAsked()], expect=["ask checkpoint"])
    play(state, [(1, on.Woke())], expect=[])
    play(state, [(2.5, on.Woke())], expect=["close trainer", "exit"])


@pytest.mark.parametrize(
    ("begin", "blobs", "phase", "note"),
    [
        pytest.param(waiting, [], Phase.UNAPPROVED, None, id="waiting for approval"),
        pytest.param(joined, [], Phase.JOINING, None, id="joining"),
        pytest.param(fetching, [], Phase.FETCHING, None, id="fetching"),
        pytest.param(ready, [blob_of(1)], Phase.READY, None, id="ready"),
        pytest.param(ready, [], Phase.FETCHING, "the model was lost: fetches it anew", id="ready, the model lost"),
        pytest.param(training, [blob_of(1)], Phase.READY, "", id="training"),
        pytest.param(training, [], Phase.FETCHING, "the model was lost: fetches it anew", id="training, the model lost"),
        pytest.param(sending, [UPDATE], Phase.SPOOLED, None, id="sending"),
        pytest.param(
            sending, [blob_of(1)], Phase.READY, "the spooled update was lost: trains anew", id="sending, the update lost"),
        pytest.param(sending, [], Phase.FETCHING, "the model was lost: fetches it anew", id="sending, all lost"),
        pytest.param(delivered, [], Phase.DELIVERED, None, id="delivered"),
        pytest.param(declined, [], Phase.DECLINED, None, id="declined"),
    ],
)  # fmt: skip
def test_a_study_goes_on_after_a_restart(
    begin: Callable[[], AgentState], blobs: list[bytes], phase: Phase, note: str | None
) -> None:
    before = begin()
    study = resumed(msgspec.structs.replace(site(), studies=before.studies), blobs, at(99)).studies[NAME]
    assert study.phase is phase
    assert (study.note if note is None else str(study.note or "")) == (
        before.studies[NAME].note if note is None else note
    )
    if phase is not Phase.SPOOLED:
        assert (study.offer, study.update) == (None, b"")


def test_the_result_of_an_evaluation_cannot_be_lost_with_a_blob() -> None:
    state, _ = play(training(), [spooled(manifest=EMPTY)])
    assert resumed(state, [], at(99)).studies == state.studies


def test_nothing_trains_before_the_approvals_were_read() -> None:
    state = msgspec.structs.replace(ready(), approvals={}, standing=GO)
    state, _ = play(state, [on.Woke()], expect=[])
    play(state, [approvals(STUDY), came()], expect=["start trainer", "give heart-1"])


def test_a_site_that_observes_trains_nothing_of_an_earlier_run() -> None:
    play(msgspec.structs.replace(ready(), observe=True, standing=GO), [on.Woke()], expect=[])


def test_two_studies_take_turns() -> None:
    lung = named("lung-1")
    state, _ = play(ready(), [heard(announcement(1, lung))])
    state, _ = play(state, [approvals(STUDY, lung)])
    state, _ = play(state, [(1, model_key(1, lung)), (1, fetched(1, lung))])
    state = msgspec.structs.replace(state, standing=GO)
    script: list[Step] = [(2, on.Woke()), came(), spooled(), spooled(1, "lung-1")]
    _, done = play(state, script)
    assert [each.job.study for each in only(do.GiveJob, done)] == [NAME, "lung-1"]


# --- another daemon with our identity -------------------------------------------------------------------------------


def test_who_came_second_gives_its_trainer_up_and_ends() -> None:
    state, _ = play(training(), [heard(m.Twin(instance=training().instance))], expect=["ask checkpoint"])
    assert state.displaced
    play(state, [CHECKPOINTED], expect=["close trainer", "exit"])


def test_who_was_there_first_is_told_and_goes_on() -> None:
    state, done = play(training(), [heard(m.Twin(instance=bytes([1]) * 32))], expect=[])
    assert not state.displaced
    assert not state.stopping
    assert "was told to stop" in told(done)[0]
