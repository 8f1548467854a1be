# SPDX-License-Identifier: Apache-2.0
import msgspec
import pytest

from fedagent.conditions.condition import Said
from fedagent.core import events as on
from fedagent.core.governor import ManualPause
from fedagent.core.round import Phase
from fedagent.core.state import LastError, Record, Stage, StudyState, TrainerState, note_error
from tests.fakes.scenes import LOST, announcement, at, play, sending, training


def test_a_study_is_named_by_its_announcement() -> None:
    study = StudyState(announcement=announcement(7), payload=b"", phase=Phase.UNAPPROVED, since=0.0)
    assert (study.name, study.round) == ("heart-1", 7)


@pytest.mark.parametrize(
    "study",
    [
        pytest.param(training().studies["heart-1"], id="training"),
        pytest.param(sending().studies["heart-1"], id="sending"),
    ],
)
def test_a_study_survives_a_restart_whole(study: StudyState) -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(study), type=StudyState) == study


def test_the_record_survives_a_restart_whole() -> None:
    record = Record(
        trainer_key=b"k" * 32,
        pause=ManualPause(by="anna", until=1.5),
        yields=3,
        yielded_s=2.5,
        error=LastError(code="FA1001", text="no space", at=1.5),
    )
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(record), type=Record) == record


NO_SPACE = Said("FA1004", "no space")
KEPT = LastError(code="FA1004", text="no space", at=at(1).wall)


def test_what_goes_wrong_in_a_study_is_the_studys_last_error_and_the_sites() -> None:
    state = note_error(training(), NO_SPACE, at(1), study="heart-1")
    assert (state.record.error, state.studies["heart-1"].error) == (KEPT, KEPT)


@pytest.mark.parametrize("study", [None, "lung-1"])
def test_what_goes_wrong_in_no_study_that_is_known_is_the_sites(study: str | None) -> None:
    state = note_error(training(), NO_SPACE, at(1), study=study)
    assert (state.record.error, state.studies["heart-1"].error) == (KEPT, None)


def test_a_site_begins_without_a_trainer() -> None:
    assert TrainerState().stage is Stage.ABSENT


def test_a_trainer_that_died_of_its_job_is_the_studys_last_error() -> None:
    state, _ = play(training(), [(2, LOST)])
    died = LastError(code="FA5102", text=LOST.reason.text, at=at(2).wall)
    assert (state.record.error, state.studies["heart-1"].error) == (died, died)
    assert state.trainer.since == at(2).monotonic


def test_a_trainer_that_we_ended_is_no_error() -> None:
    state, _ = play(training(), [(1, on.StopAsked()), (2, LOST)])
    assert state.record.error is None
