# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable

import msgspec
import pytest

from fedagent import VERSION
from fedagent.core import events as on
from fedagent.core.governor import ManualPause
from fedagent.core.state import AgentState
from fedagent.site.status import BrokerView, SiteStatus, TrainerView, VerdictView, view
from fedagent.transport.outage import LinkStatus
from fedagent.wire.messages import RoundKind
from fedagent.wire.study import study_digest
from tests.fakes import examples
from tests.fakes.scenes import (
    FULL,
    GO,
    LOST,
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

UP = LinkStatus(connected=True, reason="", since=at(-60).wall)
DOWN = LinkStatus(connected=False, reason="refused", since=at(-60).wall, retry_in_s=21.0)


def seen(state: AgentState, seconds: float = 0.0, link: LinkStatus = UP) -> SiteStatus:
    return view(state, link, at(seconds), bytes_up=1, bytes_down=2)


def test_a_site_that_has_just_started_has_a_status() -> None:
    status = seen(site())
    assert (status.site, status.version, status.mode) == ("clinic-a", VERSION, "train")
    assert (status.cpu_others_ratio, status.memory_available_mib) == (None, None)
    absent = TrainerView(stage="absent", since=at(-1000).wall, study=None, step=0, steps=0, loss=None)
    assert status.trainer == absent
    assert status.studies == ()
    assert (status.at, status.last_error) == (at(0).wall, None)


def test_the_connection_to_the_broker_is_shown_as_it_is() -> None:
    up = BrokerView(
        connected=True, since=at(-60).wall, reason="", retry_at=None,
        silent_since=None, asks_at=None, bytes_up=1, bytes_down=2,
    )  # fmt: skip
    assert seen(site()).broker == up
    down = msgspec.structs.replace(up, connected=False, reason="refused", retry_at=at(26).wall)
    assert seen(site(), 5, DOWN).broker == down


def test_an_aggregator_that_does_not_answer_is_shown_where_the_broker_is_there() -> None:
    state = site(silent_since=at(-20).monotonic, asked_at=at(-2).monotonic, ask_after_s=8.0)
    broker = seen(state).broker
    assert (broker.silent_since, broker.asks_at) == (at(-20).wall, at(6).wall)
    assert seen(state, link=DOWN).broker.silent_since is None
    assert seen(site(silent_since=at(-1).monotonic)).broker.silent_since is None


def test_a_trainer_that_failed_is_shown_with_its_next_start() -> None:
    trainer = seen(play(training(), [(3, LOST)])[0], 4).trainer
    assert (trainer.stage, trainer.since, trainer.failures, trainer.retry_at) == (
        "absent",
        at(3).wall,
        1,
        at(5).wall,
    )


def test_what_went_wrong_last_is_shown_at_the_site_and_in_its_study() -> None:
    status = seen(play(training(), [(3, LOST)])[0])
    assert status.last_error is not None
    assert (status.last_error.text, status.last_error.at) == (
        LOST.reason.text,
        at(3).wall,
    )
    assert status.studies[0].last_error == status.last_error


def test_a_verdict_that_will_change_by_itself_says_when() -> None:
    pause = ManualPause(by="anna", until=at(60).wall)
    state, _ = play(site(), [on.PauseAsked(pause=pause)])
    assert seen(state).verdict.until == at(60).wall


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
    assert seen(training()).trainer == TrainerView(
        stage="busy", since=at(0).wall, study=NAME, step=10, steps=50, loss=0.25
    )


def test_a_study_is_shown_with_what_it_sent() -> None:
    (study,) = seen(sending()).studies
    assert (study.study, study.round, study.rounds, study.phase) == (NAME, 1, 10, "sending the update")
    assert (study.dataset, study.rows, study.metrics) == ("cardiology", 242, examples.METRICS)
    assert study.digest == study_digest(STUDY).hex()
    assert study.waits_for == "the aggregator to take the update"
    assert (study.deadline_at, study.last_error) == (announcement().deadline_at, None)


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
    (study,) = seen(state).studies
    assert study.place == place
    assert (study.deadline_at is None) is (kind is RoundKind.ENDED)


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
