# SPDX-License-Identifier: Apache-2.0
"""A model's card says what a person needs who has nothing but the file; its program runs."""

import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from fedagent.aggregator.card import model_card, ranges
from fedagent.aggregator.metrics import RoundResult, SiteResult, round_result
from fedagent.aggregator.store import ModelRecord
from fedagent.wire.manifest import Manifest
from fedagent.wire.messages import MetricValue, ModelReference, RoundKind
from fedagent.wire.study import (
    Boolean,
    Category,
    Label,
    NoNormalisation,
    Numeric,
    SiteNormalisation,
    Study,
    TabularClassifier,
    model_shapes,
)
from fedagent.wire.tensors import encode_header, file_bytes
from tests.fakes.examples import BLOB, METRICS, OTHER, OTHER_STUDY, STUDY

MODEL = ModelRecord(
    study=STUDY.name,
    number=2,
    reference=ModelReference(blob=BLOB, size_bytes=1240, chunk_bytes=262_144, plaintext=OTHER),
    manifest=Manifest(size_bytes=1240, chunk_bytes=262_144, chunks=(BLOB,)),
    key=bytes(32),
    made_at=1_772_366_400.0,
)


def result(number: int, *, rows: int = 242, snapshot: bytes = BLOB) -> RoundResult:
    metrics = (*METRICS, MetricValue(name="training_loss", value=0.25, count=rows))
    kind = RoundKind.EVALUATE if number == 3 else RoundKind.TRAIN
    return round_result(
        number, kind, [SiteResult(site="clinic-a", rows=rows, snapshot=snapshot, metrics=metrics)]
    )


def task_of(study: Study) -> TabularClassifier:
    assert isinstance(study.task, TabularClassifier)
    return study.task


def with_task(**changes: object) -> Study:
    return msgspec.structs.replace(STUDY, task=msgspec.structs.replace(task_of(STUDY), **changes))


def test_the_card_names_study_sites_data_and_digests() -> None:
    card = model_card(
        STUDY, MODEL, [result(1), result(2, rows=250, snapshot=OTHER), result(3)], "m.safetensors"
    )
    for said in (
        "# Model of study heart-1 after round 2 of 10",
        STUDY.purpose,
        OTHER.hex(),
        "2026-03-01T12:00:00+00:00",
        f"| clinic-a | 242 | `{BLOB.hex()[:12]}` | 1 |",
        f"| clinic-a | 250 | `{OTHER.hex()[:12]}` | 2 |",
        "- Optimizer: sgd (learning_rate 0.1, momentum 0.9, weight_decay 0.001)",
        "fedprox (proximal 0.01, server_learning_rate 0.5, server_momentum 0.9)",
        "clipped to a norm of 1.5",
    ):
        assert said in card


def test_only_the_models_own_metrics_are_on_its_card() -> None:
    card = model_card(STUDY, MODEL, [result(1), result(2), result(3)], "m.safetensors")
    assert "| site | test patients | auc | loss |" in card
    assert "| clinic-a | 61 | 0.8750 | 0.5000 |\n| all | 61 | 0.8750 | 0.5000 |" in card
    assert "training_loss" not in card
    assert "No site has measured" in model_card(STUDY, MODEL, [result(1), result(2)], "m.safetensors")


def test_the_initial_model_was_trained_nowhere() -> None:
    card = model_card(STUDY, msgspec.structs.replace(MODEL, number=0), [result(1)], "m.safetensors")
    assert "Nowhere: these are the initial weights." in card


def test_every_feature_is_named_in_the_models_order() -> None:
    card = model_card(STUDY, MODEL, [], "m.safetensors")
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", card, re.MULTILINE)
    assert rows == [
        ("0", "age | number from 18 to 120 a, mean 54.5, standard deviation 9"),
        ("1", "chest_pain | 1 if it is 1, else 0"),
        ("2", "chest_pain | 1 if it is 2, else 0"),
        ("3", "chest_pain | 1 if it is 3, else 0"),
        ("4", "angina | 1 if it is true, else 0"),
    ]
    assert "both as in the table" in card
    assert "A missing number is the mean" in card


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"normalisation": SiteNormalisation()}, "Normalised: numbers minus the mean"),
        ({"normalisation": SiteNormalisation(features="all")}, "Normalised: every feature minus the mean"),
        ({"normalisation": NoNormalisation()}, "Not normalised."),
        ({"missing": "drop"}, "were left out"),
        (
            {"columns": (Numeric(name="age"),), "normalisation": NoNormalisation()},
            "| 0 | age | number |",
        ),
        ({"columns": (Boolean(name="angina"),)}, "| 0 | angina |"),
        ({"columns": (Category(name="a", categories=("x|y", "z")),)}, r"| 0 | a | 1 if it is x\|y, else 0 |"),
    ],
)
def test_the_card_says_how_rows_are_prepared(changes: dict[str, object], said: str) -> None:
    assert said in model_card(with_task(**changes), MODEL, [], "m.safetensors")


@pytest.mark.parametrize(
    ("numbers", "text"), [([], ""), ([4], "4"), ([1, 2, 3], "1-3"), ([1, 2, 4, 6, 7], "1-2, 4, 6-7")]
)
def test_rounds_in_short(numbers: list[int], text: str) -> None:
    assert ranges(numbers) == text


@pytest.mark.parametrize(
    ("study", "printed"),
    [
        pytest.param(STUDY, r"tensor\(\[\[0\.5000\]\]\)", id="two classes, two hidden layers"),
        pytest.param(
            with_task(label=Label(column="stage", classes=("a", "b", "c", "d")), hidden=()),
            r"tensor\(\[\[0\.2500, 0\.2500, 0\.2500, 0\.2500\]\]\)",
            id="four classes, no hidden layer",
        ),
        pytest.param(OTHER_STUDY, r"'tensor\.0': \(333334,\)", id="identity"),
    ],
)
def test_the_cards_program_runs(study: Study, printed: str, tmp_path: Path) -> None:
    shapes = model_shapes(study.task)
    header = encode_header(shapes)
    (tmp_path / "m.safetensors").write_bytes(header + bytes(file_bytes(shapes) - len(header)))
    code = re.search(r"```python\n(.*)```", model_card(study, MODEL, [], "m.safetensors"), re.DOTALL)
    assert code is not None
    done = subprocess.run(
        [sys.executable, "-c", code[1]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert re.search(printed, done.stdout)
