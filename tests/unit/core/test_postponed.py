# SPDX-License-Identifier: Apache-2.0
"""A job that finds no room on the trainer's disk is given again, and nothing of it counts against the study."""

import msgspec
import pytest

from fedagent.core import commands as do
from fedagent.core import events as on
from fedagent.core.round import Phase
from fedagent.core.state import AgentState, Stage
from fedagent.wire import frames
from fedagent.wire.messages import Reason
from tests.fakes.scenes import NAME, at, only, play, sampled, spooled, told, training

REFUSED = on.TrainerSaid(
    frame=frames.JobRefused(study=NAME, round=1, reason=Reason.NO_SPACE, text="cannot write x")
)
FAILED = on.TrainerSaid(
    frame=frames.JobFailed(study=NAME, round=1, reason=Reason.NO_SPACE, text="cannot write x")
)


@pytest.mark.parametrize("event", [REFUSED, FAILED], ids=["refused", "failed"])
def test_it_is_not_declined_and_the_study_says_what_it_waits_for(event: on.TrainerSaid) -> None:
    state, done = play(training(), [(1, event)])
    study = state.studies[NAME]
    assert (study.phase, study.deaths, state.trainer.stage) == (Phase.READY, 0, Stage.IDLE)
    assert study.note is not None
    assert study.note.text.startswith("cannot write x; nothing is lost")
    assert only(do.Post, done) == []
    assert told(done) == [study.note.text]


def test_it_is_given_again_later_and_later_and_said_once() -> None:
    state, second = training(), 1.0
    for number, delay_s in enumerate((2, 4, 8, 16, 32, 60, 60)):
        state, done = play(state, [(second, REFUSED)])
        assert len(told(done)) == (number == 0)
        state, done = play(state, [(second + delay_s - 0.1, sampled(second + delay_s - 0.1))])
        assert only(do.GiveJob, done) == []
        second += delay_s + 0.1
        state, done = play(state, [(second, sampled(second))])
        assert len(only(do.GiveJob, done)) == 1
    assert state.studies[NAME].phase is Phase.TRAINING


def test_once_there_was_room_it_is_forgotten() -> None:
    state, _ = play(training(), [(1, REFUSED), (4, sampled(4)), (5, spooled())])
    assert (state.studies[NAME].phase, state.trainer.failures) == (Phase.SPOOLED, 0)


@pytest.mark.parametrize("stage", [Stage.IDLE, Stage.ABSENT])
def test_of_a_job_that_is_not_under_way_it_means_nothing(stage: Stage) -> None:
    trainer = msgspec.structs.replace(training().trainer, stage=stage, study=None)
    state: AgentState = msgspec.structs.replace(training(), trainer=trainer)
    after, done = play(state, [(1, REFUSED)])
    assert (after.studies, told(done)) == (state.studies, [])
    assert at(1).monotonic > after.trainer.retry_at
