# SPDX-License-Identifier: Apache-2.0
"""The main job: two hospitals, three rounds, every part a process of its own over real TLS; then again with accidents.

Each run must end with the same model, byte for byte.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest

from fedagent.demo.broker import MosquittoProgram
from fedagent.demo.federation import Federation, template
from fedagent.demo.hospital import Hospital
from fedagent.demo.show import DATA, dataset_of
from fedagent.demo.split import split_hospitals
from fedagent.site import control

LIMIT_S = 120.0
NAMES = ("north", "south")

pytestmark = pytest.mark.timeout(300)


@contextmanager
def federation(folder: Path, mosquitto: MosquittoProgram) -> Iterator[Federation]:
    """Two hospitals that have approved the study, in the middle of their first round or before it."""
    study = template(DATA / "study.toml", NAMES, rounds=3, seed=7)
    paths = split_hospitals(DATA / "breast_cancer.csv", folder / "data", names=NAMES, seed=7)
    made = Federation(folder, mosquitto, study)
    with made.broker, made.programs:
        made.start_aggregator()
        for name, path in zip(NAMES, paths, strict=True):
            made.add_hospital(name, dataset_of(study, path)).start(made.programs)
        made.start_study()
        made.approve_everywhere()
        yield made


def final_model(made: Federation) -> str:
    """SHA-256 of the final model, once the study has ended everywhere."""
    made.wait("the end of the study", made.ended, LIMIT_S)
    model = made.folder / "model.safetensors"
    made.fedaggregator("model", "export", made.study.name, str(model))
    return sha256(model.read_bytes()).hexdigest()


def in_round(made: Federation, number: int) -> Callable[[], bool]:
    """Whether every hospital is in that round at least."""

    def reached() -> bool:
        found = [hospital.status() for hospital in made.hospitals]
        return all(status and status.studies and status.studies[0].round >= number for status in found)

    return reached


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, mosquitto: MosquittoProgram) -> str:
    with federation(tmp_path_factory.mktemp("undisturbed"), mosquitto) as made:
        return final_model(made)


def test_two_hospitals_train_one_model_in_three_rounds(tmp_path: Path, mosquitto: MosquittoProgram) -> None:
    with federation(tmp_path, mosquitto) as made:
        final_model(made)
        rows = made.metrics()
    auc = {row.model: row.value for row in rows if row.site == "all" and row.metric == "auc"}
    assert sorted(auc) == [0, 1, 2, 3]
    assert auc[3] > 0.95
    assert auc[3] > auc[0]
    assert {row.site for row in rows} == {"all", *NAMES}


def test_the_same_seed_gives_the_same_model(
    tmp_path: Path, mosquitto: MosquittoProgram, undisturbed: str
) -> None:
    with federation(tmp_path, mosquitto) as made:
        assert final_model(made) == undisturbed


def test_a_killed_broker_that_comes_back_empty_changes_nothing(
    tmp_path: Path, mosquitto: MosquittoProgram, undisturbed: str
) -> None:
    with federation(tmp_path, mosquitto) as made:
        made.wait("round 2", in_round(made, 2), LIMIT_S)
        made.broker.kill()
        with made.broker:
            assert final_model(made) == undisturbed


def test_a_killed_daemon_goes_on_where_it_was(
    tmp_path: Path, mosquitto: MosquittoProgram, undisturbed: str
) -> None:
    with federation(tmp_path, mosquitto) as made:
        made.wait("round 2", in_round(made, 2), LIMIT_S)
        victim: Hospital = made.hospitals[0]
        made.programs.kill(victim.name)
        victim.start(made.programs)
        assert final_model(made) == undisturbed


def test_a_killed_aggregator_goes_on_where_it_was(
    tmp_path: Path, mosquitto: MosquittoProgram, undisturbed: str
) -> None:
    with federation(tmp_path, mosquitto) as made:
        made.wait("round 2", in_round(made, 2), LIMIT_S)
        made.programs.kill("aggregator")
        made.start_aggregator()
        assert final_model(made) == undisturbed


def test_a_paused_hospital_yields_and_gives_the_same_model(
    tmp_path: Path, mosquitto: MosquittoProgram, undisturbed: str
) -> None:
    with federation(tmp_path, mosquitto) as made:
        hospital = made.hospitals[1]
        control.ask(hospital.runtime, control.AskPause(reason="the clinic"))
        made.wait("the others' update", lambda: made.phases().get(NAMES[0]) == "delivered", LIMIT_S)
        status = hospital.status()
        assert status is not None
        assert not status.verdict.go
        assert status.verdict.text.endswith("the clinic")
        assert status.studies[0].round == 1
        control.ask(hospital.runtime, control.AskResume())
        assert final_model(made) == undisturbed
