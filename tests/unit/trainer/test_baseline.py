# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
import tomli_w

from fedagent.trainer.baseline import compute, main
from fedagent.trainer.tasks import metrics, preparation
from fedagent.trainer.tasks.preparation import Selection, select
from fedagent.trainer.tasks.training import Network, Training, seed_of
from fedagent.trainer.tensor_file import tensor_chunks
from fedagent.wire import study as s
from tests.fakes.tables import (
    Cells,
    Columns,
    make_columns,
    make_model,
    make_study,
    make_table,
    make_task,
    write_snapshot,
)

TASK = make_task(work=s.Steps(amount=20))


def small(columns: Columns, rows: int) -> dict[str, Cells]:
    return {name: cells[:rows] for name, cells in columns.items()}


def selections(task: s.TabularClassifier) -> dict[str, Selection]:
    """A small site whose rows are of no use to learn from, and a large one."""
    noise = small(make_columns(seed=2), 44)
    noise["ill"] = [("yes", "no")[index // 2 % 2] for index in range(44)]
    noise["__split"] = ["train"] * 22 + ["test"] * 22
    return {
        "clinic-a": select(task, make_table(make_columns(seed=1))),
        "clinic-b": select(task, make_table(noise)),
    }


def test_local_is_each_site_alone_for_the_whole_study() -> None:
    study = make_study(TASK, aggregation=s.FedProx(proximal=5.0))
    chosen = selections(TASK)["clinic-b"]
    found = compute(study, {"clinic-b": chosen}, make_model(TASK)).local["clinic-b"]
    alone = make_study(make_task(work=s.Steps(amount=60)))  # three rounds, no pull
    statistics = preparation.fit(TASK, chosen.train)
    training = Training(
        alone,
        make_model(TASK),
        preparation.transform(TASK, chosen.train, statistics),
        seed_of(study, 1, "clinic-b"),
    )
    while not training.done:
        training.advance()
    test = preparation.transform(TASK, chosen.test, statistics)
    expected = metrics.evaluate(Network(TASK, training.network.tensors()).outputs(test), test.labels, 2)
    assert {name: (score.value, score.count) for name, score in found.items()} == {
        metric.name: (metric.value, metric.count) for metric in expected
    }


def test_pooled_is_one_training_on_all_rows() -> None:
    both = selections(TASK)
    study = make_study(TASK)
    found = compute(study, both, make_model(TASK))
    merged = preparation.Encoded(
        np.concatenate([each.train.values for each in both.values()]),
        np.concatenate([each.train.labels for each in both.values()]),
        112,
    )
    one = {"pooled": Selection(merged, both["clinic-a"].test)}
    assert found.pooled["clinic-a"] == compute(study, one, make_model(TASK)).local["pooled"]
    assert found.pooled["clinic-b"] != found.local["clinic-b"]


def test_pooling_does_not_depend_on_the_order_of_the_sites() -> None:
    both = selections(TASK)
    turned = dict(reversed(both.items()))
    assert compute(make_study(TASK), both, make_model(TASK)) == compute(
        make_study(TASK), turned, make_model(TASK)
    )


@pytest.mark.parametrize("work", [s.Epochs(amount=1), s.Seconds(amount=0.01)])
def test_work_of_every_unit_is_taken_as_often_as_there_are_rounds(work: s.Epochs | s.Seconds) -> None:
    task = make_task(work=work)
    found = compute(make_study(task), selections(task), make_model(task))
    assert found.local["clinic-a"]["auc"].value > 0.8


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    (tmp_path / "study.toml").write_text(tomli_w.dumps(_plain(msgspec.to_builtins(make_study(TASK)))))
    (tmp_path / "model").write_bytes(b"".join(tensor_chunks(make_model(TASK))))
    write_snapshot(tmp_path / "a.parquet", make_columns(seed=1))
    write_snapshot(tmp_path / "b.parquet", make_columns(seed=2))
    return [
        f"--study={tmp_path}/study.toml",
        f"--model={tmp_path}/model",
        f"--snapshot=clinic-a={tmp_path}/a.parquet",
        f"--snapshot=clinic-b={tmp_path}/b.parquet",
    ]


def _plain(value: object) -> dict[str, object]:
    """Without what TOML has no word for."""
    found = _without_none(value)
    assert isinstance(found, dict)
    return found


def _without_none(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_none(each) for key, each in value.items() if each is not None}
    return [_without_none(each) for each in value] if isinstance(value, list | tuple) else value


def test_the_command_prints_json(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert set(printed) == {"local", "pooled"}
    assert set(printed["local"]) == set(printed["pooled"]) == {"clinic-a", "clinic-b"}
    assert printed["local"]["clinic-a"]["auc"]["count"] == 30


def test_the_command_prints_a_table(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 2 * 5
    assert lines[1].split()[:3] == ["clinic-a", "auc", "30"]


@pytest.mark.parametrize(
    ("extra", "code", "text"),
    [
        (["--snapshot=clinic-c"], 64, "is not SITE=PATH"),
        (["--snapshot=clinic-a=/dev/null"], 64, "named twice"),
        (["--snapshot=clinic-c=/nowhere"], 64, "cannot read /nowhere"),
        (["--model=/nowhere"], 64, "cannot read /nowhere"),
        (["--snapshot=clinic-c=/dev/null"], 1, "clinic-c: the snapshot's file"),
        (["--study=/nowhere"], 78, "cannot read /nowhere"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str], extra: list[str], code: int, text: str
) -> None:
    assert main([*arguments, *extra]) == code
    printed = capsys.readouterr().err
    assert text in printed
    assert printed.count("\n") == 1
