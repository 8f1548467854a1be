# SPDX-License-Identifier: Apache-2.0
import msgspec
import pytest

from fedagent.core.governor import ManualPause
from fedagent.core.round import Phase
from fedagent.core.state import Record, Stage, StudyState, TrainerState
from tests.fakes.scenes import announcement, sending, training


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
    record = Record(trainer_key=b"k" * 32, pause=ManualPause(by="anna", until=1.5), yields=3, yielded_s=2.5)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(record), type=Record) == record


def test_a_site_begins_without_a_trainer() -> None:
    assert TrainerState().stage is Stage.ABSENT
