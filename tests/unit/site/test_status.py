# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable

import msgspec
import pytest

from fedagent import VERSION
from fedagent.core.state import AgentState
from fedagent.site.status import SiteStatus, TrainerView, VerdictView, view
from fedagent.wire.messages import RoundKind
from fedagent.wire.study import study_digest
from tests.fakes import examples
from tests.fakes.scenes import (
    FULL,
    GO,
    NAME,
    STUDY,
    announcement,
    at,
    facts,
    heard,
    named,
    play,
    sampled,
    sending,
    site,
    training,
)


def seen(state: AgentState, seconds: float = 0.0) -> SiteStatus:
    return view(state, bytes_up=1, bytes_down=2, now=at(seconds).monotonic)


def test_a_site_that_has_just_started_has_a_status() -> None:
    status = seen(site())
    assert (status.site, status.version, status.mode) == ("clinic-a", VERSION, "train")
    assert (status.connected, status.link) == (False, "connecting")
    assert (status.cpu_others_ratio, status.memory_available_mib) == (None, None)
    assert status.trainer == TrainerView(stage="absent", study=None, step=0, steps=0, loss=None)
    assert status.studies == ()
    assert (status.bytes_up, status.bytes_down) == (1, 2)


def test_a_site_that_observes_says_so() -> None:
    assert seen(site(observe=True)).mode == "observe"


def test_the_machine_is_shown_as_it_was_last_seen() -> None:
    status = seen(site(facts=facts(cpu_others_ratio=0.25, memory_available_mib=2048)))
    assert (status.cpu_others_ratio, status.memory_available_mib) == (0.25, 2048)


def test_a_verdict_is_shown_with_signal_value_and_threshold() -> None:
    assert seen(site(standing=GO)).verdict == VerdictView(go=True, text="training is allowed", since=GO.since)
    state, _ = play(site(), [(1, sampled(1, memory_available_mib=10))])
    assert seen(state).verdict == VerdictView(
        go=False,
        text="10 MiB memory available, 1024 MiB must stay free",
        since=FULL.since,
        signal="memory",
        value=10.0,
        threshold=1024.0,
    )


def test_a_job_is_shown_with_its_progress() -> None:
    assert seen(training()).trainer == TrainerView(stage="busy", study=NAME, step=10, steps=50, loss=0.25)


def test_a_study_is_shown_with_what_it_sent() -> None:
    (study,) = seen(sending()).studies
    assert (study.study, study.round, study.rounds, study.phase) == (NAME, 1, 10, "sending the update")
    assert (study.dataset, study.rows, study.metrics) == ("cardiology", 242, examples.METRICS)
    assert study.digest == study_digest(STUDY).hex()
    assert study.note == "waits for the aggregator to take the update"


@pytest.mark.parametrize(
    ("kind", "number", "place"),
    [
        (RoundKind.TRAIN, 10, "round 10 of 10"),
        (RoundKind.EVALUATE, 11, "evaluation of the final model"),
        (RoundKind.ENDED, 12, ""),
    ],
)
def test_a_studys_place_is_said_in_words(kind: RoundKind, number: int, place: str) -> None:
    state, _ = play(site(), [heard(announcement(number, round_kind=kind))])
    assert [each.place for each in seen(state).studies] == [place]


def test_studies_are_shown_by_name() -> None:
    state, _ = play(site(), [heard(announcement(1, named("lung-1"))), heard(announcement())])
    assert [each.study for each in seen(state).studies] == [NAME, "lung-1"]


BUSY = {"cpu_others_ratio": 0.9}


def frozen() -> AgentState:
    return play(training(), [(1, sampled(1, **BUSY)), (2, sampled(2, **BUSY))])[0]


def vacating() -> AgentState:
    return play(training(), [(2, sampled(2, memory_available_mib=1))])[0]


@pytest.mark.parametrize(
    ("begin", "yielded_s"),
    [
        pytest.param(training, 0.0, id="training"),
        pytest.param(frozen, 3.0, id="frozen"),
        pytest.param(vacating, 3.0, id="vacating"),
    ],
)
def test_a_yield_under_way_counts_already(begin: Callable[[], AgentState], yielded_s: float) -> None:
    assert seen(begin(), 5.0).yielded_s == yielded_s


def test_a_status_passes_through_json_whole() -> None:
    status = seen(sending())
    assert msgspec.json.decode(msgspec.json.encode(status), type=SiteStatus) == status
