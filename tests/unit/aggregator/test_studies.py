# SPDX-License-Identifier: Apache-2.0
"""A study's file, and a study before it runs."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import tomli_w

from fedagent.aggregator import studies
from fedagent.aggregator.store import Store
from fedagent.aggregator.tables import StudyPhase
from fedagent.errors import ConfigurationError, UsageError
from fedagent.wire.study import Category, EarlyStopping, Identity, TabularClassifier
from tests.fakes.examples import OTHER_STUDY, STUDY

NOW = 1000.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "aggregator.sqlite")
    yield opened
    opened.close()


def test_a_study_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(tomli_w.dumps(msgspec.to_builtins(STUDY)))
    assert studies.read_study(path) == STUDY


def test_every_problem_of_a_file_is_named_at_once(tmp_path: Path) -> None:
    federation = msgspec.structs.replace(OTHER_STUDY.federation, early_stopping=EarlyStopping(patience=1))
    study = msgspec.structs.replace(
        OTHER_STUDY, task=Identity(parameters=100_000, tensors=10_000), federation=federation
    )
    problems = list(studies.find_problems(study))
    assert [said.text for said in problems] == [
        "federation.early_stopping: the identity task reports no metrics"
    ]


def test_a_study_that_is_too_long_to_announce_is_refused() -> None:
    columns = tuple(
        Category(name=f"column_{index}", categories=tuple(str(number) for number in range(400)))
        for index in range(50)
    )
    assert isinstance(STUDY.task, TabularClassifier)
    task = msgspec.structs.replace(STUDY.task, columns=columns)
    (problem,) = studies.find_problems(msgspec.structs.replace(STUDY, task=task))
    assert "too long to announce" in problem.text


def test_a_file_that_is_wrong_is_named_with_its_key(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text('name = "heart-1"\nporpose = "x"\n')
    with pytest.raises(ConfigurationError, match=r"porpose: unknown key; did you mean 'purpose'"):
        studies.read_study(path)


def test_a_created_study_waits_to_be_started(store: Store) -> None:
    studies.create(store, STUDY, NOW)
    assert store.study(STUDY.name).phase is StudyPhase.CREATED
    assert studies.start(store, STUDY.name, NOW)
    assert store.study(STUDY.name).phase is StudyPhase.RUNNING


def test_creating_and_starting_again_changes_nothing(store: Store) -> None:
    for _ in range(2):
        studies.create(store, STUDY, NOW)
    assert studies.start(store, STUDY.name, NOW)
    assert not studies.start(store, STUDY.name, NOW)


def test_another_study_under_a_known_name_is_refused(store: Store) -> None:
    studies.create(store, STUDY, NOW)
    with pytest.raises(UsageError, match="never changes"):
        studies.create(store, msgspec.structs.replace(STUDY, seed=1), NOW)


def test_a_study_that_nobody_created_cannot_start(store: Store) -> None:
    with pytest.raises(UsageError, match="no study 'heart-1'"):
        studies.start(store, "heart-1", NOW)


def test_a_study_that_is_over_cannot_start(store: Store) -> None:
    studies.create(store, STUDY, NOW)
    with store.database.transaction() as connection:
        store.move_study(connection, STUDY.name, StudyPhase.ENDED, NOW)
    with pytest.raises(UsageError, match="it is ended"):
        studies.start(store, STUDY.name, NOW)
