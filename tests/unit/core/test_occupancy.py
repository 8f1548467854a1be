# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable

import msgspec
import pytest

from fedagent.core import commands as do
from fedagent.core import events as on
from fedagent.core.governor import ManualPause, Standing
from fedagent.core.occupancy import (
    CHECKPOINT_GRACE_S,
    LONGEST_RETRY_S,
    START_LIMIT_S,
    checkpoint_done,
    has_job,
    job_ended,
    trainer_lost,
)
from fedagent.core.round import Phase
from fedagent.core.state import AgentState, Stage
from fedagent.wire import messages as m
from tests.fakes.scenes import (
    CHECKPOINTED,
    GO,
    LOST,
    NAME,
    NO,
    STUDY,
    Step,
    announcement,
    approvals,
    at,
    came,
    decline,
    failed,
    fetched,
    heard,
    joined,
    model_key,
    named,
    only,
    play,
    ready,
    sampled,
    sending,
    site,
    spooled,
    told,
    training,
)

BUSY = {"cpu_others_ratio": 0.9}
SEALED = ["post heart-1/offer", "drop blobs"]
NO_MEMORY = {"memory_available_mib": 10}
PAUSED: list[Step] = [(1, sampled(1, **BUSY)), (2, sampled(2, **BUSY))]
REFUSED = heard(m.Refusal(study=NAME, round=1, reason=m.Reason.ROUND_CLOSED))


def going(state: AgentState, standing: Standing = GO) -> AgentState:
    return msgspec.structs.replace(state, standing=standing)


def starting() -> AgentState:
    state, _ = play(going(ready()), [on.Woke()])
    return state


def idle(standing: Standing = NO) -> AgentState:
    state, _ = play(going(ready()), [on.Woke()])
    state, _ = play(going(state, standing), [came()])
    return state


def frozen() -> AgentState:
    state, _ = play(training(), PAUSED)
    return state


def vacating() -> AgentState:
    state, _ = play(training(), [(1, sampled(1, **NO_MEMORY))])
    return state


def phase(state: AgentState) -> Phase:
    return state.studies[NAME].phase


# --- stage by stage: what happens, what the trainer is then, what is asked of the shell -------------------------------


@pytest.mark.parametrize(
    ("begin", "script", "stage", "expect"),
    [
        # absent
        pytest.param(lambda: going(ready()), [on.Woke()], Stage.STARTING, ["start trainer"], id="absent, a job: starts"),
        pytest.param(ready, [on.Woke()], Stage.ABSENT, [], id="absent, a job, no verdict: stays away"),
        pytest.param(lambda: going(joined()), [on.Woke()], Stage.ABSENT, [], id="absent, nothing to do: stays away"),
        pytest.param(
            lambda: going(site()), [approvals(announcement().study), heard(announcement())],
            Stage.STARTING, ["strike heart-1/join", "strike heart-1/offer", "strike heart-1/decline", "drop blobs",
                             "start trainer"], id="absent, its key is not known: starts once"),
        pytest.param(lambda: going(ready()), [on.StopAsked()], Stage.ABSENT, ["exit"], id="absent, the daemon ends"),
        pytest.param(ready, [LOST], Stage.ABSENT, [], id="absent: the end of one that was closed changes nothing"),
        pytest.param(ready, [came()], Stage.ABSENT, [], id="absent: one that was closed does not come"),
        # starting
        pytest.param(starting, [on.Woke()], Stage.STARTING, [], id="starting: waits"),
        pytest.param(starting, [came()], Stage.BUSY, ["give heart-1"], id="starting, it came: gets its job"),
        pytest.param(starting, [(START_LIMIT_S, on.Woke())], Stage.STARTING, [], id="starting: waits long"),
        pytest.param(starting, [(START_LIMIT_S + 1, on.Woke())], Stage.ABSENT, ["close trainer"], id="starting: gives up"),
        pytest.param(starting, PAUSED, Stage.STARTING, [], id="starting, a busy CPU: comes all the same"),
        pytest.param(
            starting, [(1, sampled(1, **NO_MEMORY))], Stage.ABSENT, ["close trainer"], id="starting, no memory: ends"),
        pytest.param(starting, [LOST], Stage.ABSENT, ["close trainer"], id="starting, lost"),
        # idle
        pytest.param(lambda: idle(GO), [], Stage.BUSY, [], id="idle, a job: works"),
        pytest.param(idle, [(1, on.Woke())], Stage.IDLE, [], id="idle, no verdict: waits"),
        pytest.param(idle, [(600, on.Woke())], Stage.IDLE, [], id="idle: kept warm"),
        pytest.param(idle, [(601, on.Woke())], Stage.ABSENT, ["close trainer"], id="idle, a job, no verdict: ends when cold"),
        pytest.param(sending, [(600, on.Woke())], Stage.IDLE, [], id="idle, no job: kept warm"),
        pytest.param(sending, [(601, on.Woke())], Stage.ABSENT, ["close trainer"], id="idle, no job: ends when cold"),
        pytest.param(idle, [(1, sampled(1, **NO_MEMORY))], Stage.ABSENT, ["close trainer"], id="idle, no memory: ends"),
        pytest.param(idle, [on.StopAsked()], Stage.ABSENT, ["close trainer", "exit"], id="idle, the daemon ends"),
        pytest.param(idle, [came()], Stage.IDLE, [], id="idle: a second first frame changes nothing"),
        # busy
        pytest.param(training, [(1, sampled(1))], Stage.BUSY, [], id="busy: works on"),
        pytest.param(training, [(1, sampled(1, **BUSY))], Stage.BUSY, [], id="busy, one busy sample: works on"),
        pytest.param(training, PAUSED, Stage.FROZEN, ["freeze"], id="busy, others need the CPU: freezes"),
        pytest.param(
            training, [on.PauseAsked(pause=ManualPause(by="anna"))], Stage.FROZEN, ["freeze"], id="busy, paused: freezes"),
        pytest.param(
            training, [(1, sampled(1, **NO_MEMORY))], Stage.VACATING, ["ask checkpoint"], id="busy, no memory: vacates"),
        pytest.param(training, [on.StopAsked()], Stage.VACATING, ["ask checkpoint"], id="busy, the daemon ends: vacates"),
        pytest.param(
            training, [REFUSED], Stage.IDLE,
            ["strike heart-1/join", "strike heart-1/offer", "strike heart-1/decline", "drop blobs", "stop heart-1"],
            id="busy, the round is over: drops the job"),
        pytest.param(
            training, [approvals()], Stage.IDLE,
            ["strike heart-1/join", "stop heart-1 and erase", "post heart-1/decline", "stop heart-1"],
            id="busy, revoked: drops the job and erases"),
        pytest.param(training, [spooled()], Stage.IDLE, SEALED, id="busy, sealed: has no job"),
        pytest.param(
            training, [failed()], Stage.IDLE, ["strike heart-1/join", "post heart-1/decline"], id="busy, failed: has no job"),
        pytest.param(training, [failed(2)], Stage.BUSY, [], id="busy: another round's failure changes nothing"),
        pytest.param(training, [CHECKPOINTED], Stage.BUSY, [], id="busy: a checkpoint changes nothing"),
        pytest.param(training, [LOST], Stage.ABSENT, ["close trainer"], id="busy, lost: starts later"),
        # frozen
        pytest.param(frozen, [(3, sampled(3, **BUSY))], Stage.FROZEN, [], id="frozen: stays"),
        pytest.param(frozen, [(3, sampled(3)), (12, sampled(12))], Stage.FROZEN, [], id="frozen, quiet: waits"),
        pytest.param(frozen, [(3, sampled(3)), (13, sampled(13))], Stage.BUSY, ["thaw"], id="frozen, long quiet: goes on"),
        pytest.param(frozen, [(602, sampled(602, **BUSY))], Stage.FROZEN, [], id="frozen: stays for the limit"),
        pytest.param(
            frozen, [(603, sampled(603, **BUSY))], Stage.ABSENT, ["close trainer"], id="frozen too long: ends"),
        pytest.param(
            frozen, [(3, sampled(3, **NO_MEMORY))], Stage.ABSENT, ["close trainer"], id="frozen, no memory: ends at once"),
        pytest.param(frozen, [on.StopAsked()], Stage.ABSENT, ["close trainer", "exit"], id="frozen, the daemon ends"),
        pytest.param(
            frozen, [REFUSED], Stage.IDLE,
            ["strike heart-1/join", "strike heart-1/offer", "strike heart-1/decline", "drop blobs", "stop heart-1", "thaw"],
            id="frozen, the round is over: drops the job, then thaws"),
        pytest.param(frozen, [spooled()], Stage.IDLE, [*SEALED, "thaw"], id="frozen as it was sealed: thaws"),
        pytest.param(
            frozen, [failed()], Stage.IDLE, ["strike heart-1/join", "post heart-1/decline", "thaw"],
            id="frozen as it failed: thaws"),
        pytest.param(frozen, [came()], Stage.FROZEN, [], id="frozen: a second first frame changes nothing"),
        pytest.param(frozen, [LOST], Stage.ABSENT, ["close trainer"], id="frozen, lost"),
        # vacating
        pytest.param(vacating, [(1.5, sampled(1.5))], Stage.VACATING, [], id="vacating: waits for the checkpoint"),
        pytest.param(vacating, [(2, CHECKPOINTED)], Stage.ABSENT, ["close trainer"], id="vacating, checkpointed: ends"),
        pytest.param(
            vacating, [(1 + CHECKPOINT_GRACE_S + 0.1, on.Woke())], Stage.ABSENT, ["close trainer"],
            id="vacating, deaf: ends without"),
        pytest.param(
            vacating, [(2, REFUSED)], Stage.ABSENT,
            ["strike heart-1/join", "strike heart-1/offer", "strike heart-1/decline", "drop blobs", "close trainer"],
            id="vacating, the round is over: ends"),
        pytest.param(
            vacating, [(2, spooled())], Stage.ABSENT, [*SEALED, "close trainer"],
            id="vacating as it was sealed: ends"),
        pytest.param(vacating, [(2, LOST)], Stage.ABSENT, ["close trainer"], id="vacating, lost: ended"),
    ],
)  # fmt: skip
def test_the_trainer_obeys(
    begin: Callable[[], AgentState], script: list[Step], stage: Stage, expect: list[str]
) -> None:
    state, _ = play(begin(), script, expect=expect)
    assert state.trainer.stage is stage


# --- the job --------------------------------------------------------------------------------------------------------


def test_the_job_is_the_announcement_as_it_was_signed() -> None:
    _, done = play(starting(), [came()])
    (given,) = only(do.GiveJob, done)
    study = starting().studies[NAME]
    assert given.job.announcement == study.payload
    assert given.job.model_key == study.model_key
    assert given.job.site == "clinic-a"
    assert given.model == study.announcement.model.blob


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        pytest.param(m.RoundKind.TRAIN, "trains round 1 of 10", id="a round"),
        pytest.param(m.RoundKind.EVALUATE, "evaluates the final model", id="the end"),
    ],
)
def test_the_journal_says_what_the_trainer_works_on(kind: m.RoundKind, text: str) -> None:
    state, _ = play(joined(), [heard(announcement(1, round_kind=kind)), model_key(), fetched()])
    _, done = play(going(state), [on.Woke(), came()])
    assert told(done) == [f"study heart-1: {text}"]


def test_the_study_that_has_waited_longest_comes_first() -> None:
    lung = named("lung-1")
    state = starting()
    own = state.studies[NAME]
    older = msgspec.structs.replace(own, since=at(-9).wall, announcement=announcement(study=lung))
    state = msgspec.structs.replace(state, studies={NAME: own, "lung-1": older})
    state, _ = play(state, [approvals(STUDY, lung), came()], expect=["give lung-1"])
    assert has_job(state, "lung-1")
    assert phase(state) is Phase.READY


def test_a_job_that_was_vacated_waits_for_another_trainer() -> None:
    state, _ = play(vacating(), [(2, CHECKPOINTED)])
    assert phase(state) is Phase.READY
    play(going(state), [(3, on.Woke()), came()], expect=["start trainer", "give heart-1"])


def test_an_update_that_was_sealed_before_the_trainer_was_lost_counts() -> None:
    state, _ = play(training(), [LOST, spooled()], expect=["close trainer", *SEALED])
    assert phase(state) is Phase.SPOOLED


@pytest.mark.parametrize(
    ("study", "number", "ours"),
    [
        pytest.param(NAME, None, True, id="its study"),
        pytest.param(NAME, 1, True, id="its round"),
        pytest.param(NAME, 2, False, id="another round"),
        pytest.param("lung-1", None, False, id="another study"),
    ],
)
def test_a_trainer_has_one_job(study: str, number: int | None, ours: bool) -> None:
    assert has_job(training(), study, number) is ours


def test_a_trainer_has_no_job_of_a_study_that_is_not_known() -> None:
    assert not has_job(msgspec.structs.replace(training(), studies={}), NAME)


def test_the_end_of_no_job_changes_nothing() -> None:
    state = idle()
    assert job_ended(state, NAME, 1, at(1)) == (state, [])


def test_a_checkpoint_that_nobody_asked_for_changes_nothing() -> None:
    state = frozen()
    assert checkpoint_done(state, at(3)) == (state, [])


# --- a trainer that ends by itself -----------------------------------------------------------------------------------


def losses(state: AgentState, times: int) -> tuple[AgentState, list[do.Command], float]:
    """Starts and loses a trainer with its job again and again, as soon as it may start."""
    done: list[do.Command] = []
    now = 0.0
    for _ in range(times):
        now = max(now, state.trainer.retry_at - at(0).monotonic)
        state, more = play(state, [(now, on.Woke()), came(), LOST])
        done += more
    return state, done, now


def test_a_job_that_kills_the_trainer_three_times_is_declined_once() -> None:
    state, done, _ = losses(going(ready()), 2)
    assert phase(state) is Phase.READY
    state, more, _ = losses(state, 4)
    (posted,) = [each for each in only(do.Post, done + more) if each.key == "heart-1/decline"]
    assert posted.message == decline(m.Reason.CRASHED)
    assert f"the trainer died 3 times during one job ({LOST.reason})" in told(done + more)[-1]
    assert phase(state) is Phase.DECLINED
    assert len(only(do.GiveJob, done + more)) == 3


def test_the_deaths_of_one_round_are_not_the_next_one_s() -> None:
    state, _, now = losses(going(ready()), 2)
    new: list[Step] = [(now, heard(announcement(2))), model_key(2), fetched(2)]
    state, _ = play(state, new)
    state, done, _ = losses(state, 2)
    assert only(do.Post, done) == []
    assert phase(state) is Phase.READY


def test_a_trainer_that_never_comes_declines_nothing() -> None:
    state = going(ready())
    for _ in range(5):
        state, _ = play(state, [(state.trainer.retry_at - at(0).monotonic, on.Woke()), LOST])
    assert phase(state) is Phase.READY
    assert state.trainer.failures == 5
    state, done = play(state, [(300, on.Woke()), came(), LOST])
    assert only(do.Post, done) == []


@pytest.mark.parametrize(
    ("failures", "delay_s"), [(0, 2), (1, 4), (4, 32), (5, LONGEST_RETRY_S), (5000, LONGEST_RETRY_S)]
)
def test_a_trainer_that_fails_waits_twice_as_long_each_time(failures: int, delay_s: float) -> None:
    state = starting()
    trainer = msgspec.structs.replace(state.trainer, failures=failures)
    state, _ = trainer_lost(msgspec.structs.replace(state, trainer=trainer), LOST.reason, at(7))
    assert state.trainer.retry_at == at(7 + delay_s).monotonic
    assert state.trainer.failures == failures + 1


def test_a_trainer_that_does_not_come_counts_as_a_failure_and_is_told() -> None:
    state, done = play(starting(), [(61, on.Woke())])
    assert state.trainer.failures == 1
    assert told(done) == ["no trainer came within 60 s; see journalctl -u fedagent-trainer"]
    assert state.record.error is not None
    play(going(state), [(62.9, on.Woke()), (63, on.Woke())], expect=["start trainer"])


def test_a_trainer_that_we_ended_starts_again_at_once_whatever_failed_before() -> None:
    state = vacating()
    trainer = msgspec.structs.replace(state.trainer, failures=4)
    state, _ = play(msgspec.structs.replace(state, trainer=trainer), [(2, CHECKPOINTED)])
    assert (state.trainer.failures, state.trainer.retry_at) == (4, at(2).monotonic)


def test_a_trainer_that_ends_while_it_vacates_did_not_die_of_its_job() -> None:
    state, _ = play(vacating(), [(2, LOST)])
    assert (state.trainer.failures, state.studies[NAME].deaths) == (0, 0)


def test_a_job_that_ends_well_forgives_the_failures() -> None:
    state, _, now = losses(going(ready()), 2)
    state, _ = play(state, [(now + 60, on.Woke()), came(), spooled()])
    assert state.trainer.failures == 0


def test_the_snapshots_stay_known_without_a_trainer() -> None:
    state, _ = play(training(), [LOST])
    assert [entry.dataset for entry in state.trainer.snapshots] == ["cardiology"]


# --- the account of yielding ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("begin", "script", "yields", "yielded_s"),
    [
        pytest.param(training, [(5, sampled(5))], 0, 0.0, id="none while it works"),
        pytest.param(frozen, [(3, sampled(3)), (13, sampled(13))], 1, 11.0, id="frozen and thawed"),
        pytest.param(frozen, [(603, sampled(603, **BUSY))], 1, 601.0, id="frozen too long"),
        pytest.param(frozen, [(4, spooled())], 1, 2.0, id="frozen as it was sealed"),
        pytest.param(frozen, [(4, REFUSED)], 1, 2.0, id="frozen as the round ended"),
        pytest.param(frozen, [(4, LOST)], 1, 2.0, id="frozen and lost"),
        pytest.param(vacating, [(2, CHECKPOINTED)], 1, 1.0, id="vacated"),
    ],
)
def test_the_time_in_which_training_gave_way_is_counted(
    begin: Callable[[], AgentState], script: list[Step], yields: int, yielded_s: float
) -> None:
    state, _ = play(begin(), script)
    assert state.record.yields == yields
    assert state.record.yielded_s == pytest.approx(yielded_s)


def test_the_journal_says_why_training_paused_and_ended() -> None:
    _, done = play(training(), PAUSED)
    (tell, _verdict) = only(do.Tell, done)
    assert tell.said.text == "training paused: others use 90% of the CPU, above 25%"
    assert (tell.study, tell.round, tell.reason) == (NAME, 1, "cpu")
    _, done = play(frozen(), [(4, sampled(4, **NO_MEMORY))])
    assert told(done)[0].startswith("trainer ended: 10 MiB memory available")


def test_the_journal_says_that_training_ended_with_the_daemon() -> None:
    _, done = play(vacating(), [(2, on.StopAsked()), (2, CHECKPOINTED)])
    assert any(text.startswith("trainer ended") for text in told(done))


def test_a_trainer_that_ends_for_a_study_that_is_gone_is_told_without_its_round() -> None:
    state = msgspec.structs.replace(vacating(), studies={})
    _, done = play(state, [(2, CHECKPOINTED)])
    (tell,) = only(do.Tell, done)
    assert (tell.study, tell.round) == (NAME, None)


def test_outside_its_hours_training_vacates() -> None:
    policy = msgspec.convert({"windows": [{"from": "20:00", "until": "06:00"}]}, type(training().policy))
    state, _ = play(
        msgspec.structs.replace(training(), policy=policy), [(1, sampled(1))], expect=["ask checkpoint"]
    )
    assert state.trainer.stage is Stage.VACATING
