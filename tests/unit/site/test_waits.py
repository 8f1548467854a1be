# SPDX-License-Identifier: Apache-2.0
"""What a study waits for is said in every phase, for every reason that an administrator can meet."""

from collections.abc import Callable

import msgspec
import pytest

from fedagent.core import events as on
from fedagent.core.governor import ManualPause
from fedagent.core.round import Phase
from fedagent.core.settings import GovernorSettings, TimeWindow
from fedagent.core.state import AgentState, Stage
from fedagent.site.waits import Wait, wait_of
from fedagent.transport.outage import LinkStatus
from tests.fakes.scenes import (
    BY_PHASE,
    GO,
    LOST,
    NAME,
    STUDY,
    announcement,
    approvals,
    at,
    came,
    declined,
    delivered,
    fetching,
    heard,
    joined,
    play,
    progressed,
    ready,
    sampled,
    sending,
    site,
    training,
    waiting,
)

UP = LinkStatus(connected=True, reason="", since=at(-60).wall)
DOWN = LinkStatus(connected=False, reason="refused", since=at(-60).wall, retry_in_s=21.0)
TRYING = msgspec.structs.replace(DOWN, retry_in_s=None)
DEADLINE = announcement().deadline_at
BUSY = {"cpu_others_ratio": 0.9}


def waits(state: AgentState, link: LinkStatus = UP, seconds: float = 0.0) -> Wait:
    return wait_of(state, state.studies[NAME], link, at(seconds))


def silent(state: AgentState) -> AgentState:
    """The aggregator was asked 20 s ago, and again just now."""
    return msgspec.structs.replace(
        state, connected=True, silent_since=at(-20).monotonic, asked_at=at(0).monotonic, ask_after_s=8.0
    )


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("link", [UP, DOWN, TRYING], ids=["up", "down", "trying"])
def test_every_phase_but_the_end_waits_for_something(phase: Phase, link: LinkStatus) -> None:
    assert (waits(BY_PHASE[phase](), link).what == "") is (phase is Phase.ENDED)


def test_a_study_that_is_not_approved_waits_for_the_administrator_with_the_command() -> None:
    found = waits(waiting())
    assert found.what.startswith("this site's administrator: ")
    assert "sudo fedagent study approve heart-1 --dataset NAME" in found.what


def test_approvals_that_were_not_read_yet_are_waited_for() -> None:
    study = msgspec.structs.replace(waiting().studies[NAME], note="")
    assert waits(msgspec.structs.replace(waiting(), studies={NAME: study})).what.endswith("are being read")


def test_a_site_that_observes_waits_for_nothing() -> None:
    state, _ = play(site(observe=True), [heard(announcement())])
    assert waits(state).what.startswith('nothing: mode = "observe"')


@pytest.mark.parametrize(
    ("begin", "what"),
    [
        pytest.param(joined, "the aggregator to send the model's key", id="joining"),
        pytest.param(fetching, "the aggregator to send the model", id="fetching"),
        pytest.param(sending, "the aggregator to take the update", id="sending"),
    ],
)
def test_what_the_aggregator_is_to_do(begin: Callable[[], AgentState], what: str) -> None:
    asked = msgspec.structs.replace(begin(), asked_at=at(0).monotonic, ask_after_s=8.0)
    assert waits(asked) == Wait(what, again_at=at(8).wall)
    assert waits(silent(begin())) == Wait("the aggregator, which does not answer", again_at=at(8).wall)
    assert waits(begin(), DOWN) == Wait("a connection to the broker", again_at=at(21).wall)
    assert waits(begin(), TRYING) == Wait("a connection to the broker")


@pytest.mark.parametrize(
    ("begin", "what"),
    [pytest.param(delivered, "the other sites", id="delivered"), pytest.param(declined, "this round to end", id="declined")],
)  # fmt: skip
def test_a_site_that_has_done_its_part_waits_until_the_deadline(
    begin: Callable[[], AgentState], what: str
) -> None:
    assert waits(begin()).what.startswith(what)
    assert waits(begin()).until == DEADLINE
    assert waits(begin(), DOWN).what == "a connection to the broker"
    assert waits(silent(begin())).what == "the aggregator, which does not answer"


def test_an_answer_that_takes_a_moment_is_no_silence() -> None:
    fresh = msgspec.structs.replace(silent(joined()), silent_since=at(-9).monotonic)
    assert waits(fresh).what == "the aggregator to send the model's key"


def freezing() -> AgentState:
    return play(training(), [(1, sampled(1, **BUSY)), (2, sampled(2, **BUSY))])[0]


@pytest.mark.parametrize("begin", [ready, freezing], ids=["ready", "frozen"])
def test_training_that_may_not_run_waits_for_the_machine(begin: Callable[[], AgentState]) -> None:
    found = waits(begin(), DOWN)
    assert found.what.startswith("the machine: others use ")
    assert found.until is None


def test_a_pause_has_its_end() -> None:
    pause = ManualPause(by="anna", reason="MRI", until=at(3600).wall)
    state, _ = play(ready(), [on.PauseAsked(pause=pause)])
    assert waits(state) == Wait("the machine: paused by anna: MRI", at(3600).wall)


def test_hours_have_their_beginning() -> None:
    policy = GovernorSettings(windows=(TimeWindow(start="18:00", end="23:00"),))
    state, _ = play(msgspec.structs.replace(ready(), policy=policy), [sampled(0)])
    assert waits(state) == Wait(
        "the machine: outside the hours in which training is allowed", at(0).wall // 60 * 60 + 6 * 3600
    )


def staged(state: AgentState, stage: Stage, **changes: object) -> AgentState:
    trainer = msgspec.structs.replace(state.trainer, stage=stage, **changes)
    return msgspec.structs.replace(state, trainer=trainer, standing=GO)


def unmet() -> AgentState:
    """Approved, and no trainer ever came up."""
    return play(site(standing=GO), [approvals(STUDY), heard(announcement())])[0]


@pytest.mark.parametrize(
    ("state", "what", "until"),
    [
        pytest.param(staged(unmet(), Stage.ABSENT), "the trainer to start", None, id="never came"),
        pytest.param(staged(ready(), Stage.ABSENT), "the trainer to start", None, id="absent"),
        pytest.param(staged(ready(), Stage.IDLE), "the trainer to start", None, id="idle"),
        pytest.param(staged(ready(), Stage.STARTING, since=at(-5).monotonic), "the trainer to start", at(55).wall, id="starting"),
        pytest.param(staged(ready(), Stage.BUSY, study="lung-1"), "study lung-1, which is trained first", None, id="another"),
        pytest.param(play(msgspec.structs.replace(ready(), standing=GO), [on.Woke(), came()])[0], "the training to begin", None, id="begins"),
        pytest.param(training(), "the training: step 10 of 50", None, id="trains"),
        pytest.param(play(training(), [progressed()])[0], "the training: step 10 of 50", None, id="goes on"),
    ],
)  # fmt: skip
def test_training_that_may_run_waits_for_the_trainer(
    state: AgentState, what: str, until: float | None
) -> None:
    assert waits(state) == Wait(what, until)


def test_a_trainer_that_failed_is_started_again() -> None:
    state, _ = play(training(), [LOST])
    assert waits(state) == Wait("the trainer to start after it failed", again_at=at(2).wall)
