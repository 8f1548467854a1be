# SPDX-License-Identifier: Apache-2.0
import asyncio
from collections.abc import Callable

import pytest

from fedagent.conditions.condition import Said
from fedagent.conditions.site import NO_STUDY_HERE
from fedagent.core import events as on
from fedagent.core.governor import ManualPause
from fedagent.core.state import AgentState
from fedagent.site import control, operator
from fedagent.site.status import view
from fedagent.storage.shortage import Shortage
from fedagent.wire.study import study_digest
from tests.fakes.daemon import FakeLink
from tests.fakes.loop import in_loop
from tests.fakes.scenes import GO, NAME, STUDY, at, ready, sending, site, training

Got = tuple[control.AnyAnswer, on.PauseAsked | on.ResumeAsked | None]


def asked(request: control.AnyAsk, state: AgentState) -> Got:
    future: asyncio.Future[control.AnyAnswer] = asyncio.get_running_loop().create_future()
    return operator.answer(
        state, control.Asked(request, "anna", future), FakeLink(), at(5), Shortage(lambda: at(5))
    )


@in_loop
async def test_the_status_is_the_state_as_it_is_now() -> None:
    status = view(sending(), FakeLink.status, at(5), bytes_up=1_500, bytes_down=2_500_000)
    assert asked(control.AskStatus(), sending()) == (control.StatusAnswer(status=status), None)


@in_loop
async def test_a_study_is_shown_as_it_was_announced() -> None:
    answer = control.StudyAnswer(study=STUDY, digest=study_digest(STUDY).hex(), note="")
    assert asked(control.AskStudy(name=NAME), ready()) == (answer, None)


@in_loop
async def test_a_study_that_is_not_known_is_a_problem() -> None:
    answer, event = asked(control.AskStudy(name=NAME), site())
    assert isinstance(answer, control.Problem)
    assert answer.said == Said(
        NO_STUDY_HERE.code, "no study 'heart-1' is known here; fedagent study list shows those that are"
    )
    assert event is None


@in_loop
async def test_a_pause_for_a_time_ends_by_the_wall_clock() -> None:
    pause = ManualPause(by="anna", reason="MRI", until=at(65).wall)
    assert asked(control.AskPause(for_s=60.0, reason="MRI"), site()) == (
        control.Done(text="paused"),
        on.PauseAsked(pause=pause),
    )


@in_loop
async def test_a_pause_without_a_time_ends_when_resumed() -> None:
    assert asked(control.AskPause(), site())[1] == on.PauseAsked(pause=ManualPause(by="anna"))
    assert asked(control.AskResume(), site()) == (control.Done(text="resumed"), on.ResumeAsked())


@pytest.mark.parametrize(
    ("begin", "line"),
    [
        pytest.param(site, "others use the CPU", id="no"),
        pytest.param(lambda: site(standing=GO), "idle, 0 studies", id="go"),
        pytest.param(sending, "idle, 1 studies", id="nothing to train"),
        pytest.param(training, "training heart-1, round 1", id="training"),
    ],
)
def test_systemctl_shows_the_site_in_one_line(begin: Callable[[], AgentState], line: str) -> None:
    assert operator.summary(begin()) == line
