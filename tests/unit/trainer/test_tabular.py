# SPDX-License-Identifier: Apache-2.0
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from fedagent.channel import sealed_memfd
from fedagent.trainer.tasks import metrics, preparation
from fedagent.trainer.tasks.metrics import Floats, Integers
from fedagent.trainer.tasks.tabular import prepare, read_selection
from fedagent.trainer.tasks.training import Network, Training, permutation, seed_of, tabular_task
from fedagent.trainer.tensor_file import Tensors, read_tensors
from fedagent.wire import study as s
from fedagent.wire.messages import RoundKind
from tests.fakes.listener import Listener
from tests.fakes.tables import Columns, make_model, make_study, make_task, write_snapshot
from tests.fakes.training_site import Site

SEED = bytes(32)
Weights = dict[str, Floats]


def tensors_of(data: bytes) -> Tensors:
    descriptor = sealed_memfd("update", [data])
    tensors = read_tensors(descriptor)
    os.close(descriptor)
    return tensors


def rows_of(site: Site, study: s.Study) -> tuple[preparation.Rows, preparation.Rows]:
    with site.snapshot.open("rb") as file:
        return prepare(study, read_selection(tabular_task(study), file.fileno()))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    yield Site(tmp_path)
    torch.set_num_threads(1)


# --- the arithmetic, against one written down plainly ---------------------------------------------------------------


def plain_gradients(weights: Weights, x: Floats, y: Integers) -> Weights:
    """By hand, in float64: logistic regression or softmax regression."""
    logits = x @ weights["layers.0.weight"].T + weights["layers.0.bias"]
    if logits.shape[1] == 1:
        difference = 1 / (1 + np.exp(-logits)) - y[:, None]
    else:
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        difference = exponentials / exponentials.sum(axis=1, keepdims=True) - np.eye(logits.shape[1])[y]
    return {"layers.0.weight": difference.T @ x / len(y), "layers.0.bias": difference.mean(axis=0)}


def plain_steps(
    task: s.TabularClassifier, start: Tensors, rows: preparation.Rows, steps: int, proximal: float
) -> Weights:
    """The definitions of Sutskever et al. 2013 (as PyTorch has it) and of Kingma and Ba 2015, Algorithm 1."""
    weights: Weights = {name: tensor.astype(np.float64) for name, tensor in start.items()}
    first = {name: np.zeros_like(tensor) for name, tensor in weights.items()}
    second = {name: np.zeros_like(tensor) for name, tensor in weights.items()}
    x, y, n = rows.features.astype(np.float64), rows.labels, len(rows.labels)
    order = [
        index
        for epoch in range(99)
        for index in np.split(permutation(SEED, epoch, n), range(task.batch_size, n, task.batch_size))
    ]
    for step in range(1, steps + 1):
        chosen = order[step - 1]
        gradients = plain_gradients(weights, x[chosen], y[chosen])
        for name, weight in weights.items():
            settings = task.optimizer
            gradient = gradients[name] + proximal * (weight - start[name]) + settings.weight_decay * weight
            if isinstance(settings, s.Sgd):
                first[name] = settings.momentum * first[name] + gradient
                weights[name] = weight - settings.learning_rate * first[name]
            else:
                first[name] = settings.beta1 * first[name] + (1 - settings.beta1) * gradient
                second[name] = settings.beta2 * second[name] + (1 - settings.beta2) * gradient**2
                mean, scale = (
                    first[name] / (1 - settings.beta1**step),
                    second[name] / (1 - settings.beta2**step),
                )
                weights[name] = weight - settings.learning_rate * mean / (np.sqrt(scale) + 1e-8)
    return weights


@pytest.mark.parametrize(
    "optimizer",
    [
        pytest.param(s.Sgd(learning_rate=0.1), id="sgd"),
        pytest.param(s.Sgd(learning_rate=0.05, momentum=0.9), id="momentum"),
        pytest.param(s.Sgd(learning_rate=0.05, momentum=0.5, weight_decay=0.1), id="weight decay"),
        pytest.param(s.Adam(learning_rate=0.01), id="adam"),
        pytest.param(
            s.Adam(learning_rate=0.01, beta1=0.5, beta2=0.9, weight_decay=0.01), id="adam with its own betas"
        ),
    ],
)
@pytest.mark.parametrize("classes", [("no", "yes"), ("no", "yes", "never")], ids=["binary", "three classes"])
@pytest.mark.parametrize("proximal", [0.0, 0.5], ids=["fedavg", "fedprox"])
def test_steps_are_those_of_the_definition(
    site: Site, optimizer: s.Sgd | s.Adam, classes: tuple[str, ...], proximal: float
) -> None:
    # 90 training rows by 7: each epoch's last batch has 6, and 20 steps cross its border at 13
    task = make_task(
        optimizer=optimizer, label=s.Label(column="ill", classes=classes), work=s.Steps(amount=20)
    )
    study = make_study(task, aggregation=s.FedProx(proximal=proximal) if proximal else None)
    train, _ = rows_of(site, study)
    training = Training(study, make_model(task), train, SEED)
    while not training.done:
        training.advance()
    expected = plain_steps(task, make_model(task), train, 20, proximal)
    for name, tensor in training.network.tensors().items():
        assert tensor == pytest.approx(expected[name], abs=2e-5)


def test_a_deep_network_is_its_layers_one_after_the_other(site: Site) -> None:
    for activation, function in (("tanh", np.tanh), ("relu", lambda x: np.maximum(x, 0.0))):
        task = make_task(hidden=(5, 4), activation=activation)
        model = make_model(task)
        _, test = rows_of(site, make_study(task))
        x = test.features.astype(np.float64)
        for layer in range(2):
            x = function(x @ model[f"layers.{layer}.weight"].T + model[f"layers.{layer}.bias"])
        x = x @ model["layers.2.weight"].T + model["layers.2.bias"]
        assert Network(task, model).outputs(test) == pytest.approx(x, abs=1e-5)


def test_an_epoch_takes_every_row_once_and_the_next_in_another_order() -> None:
    one, two = permutation(SEED, 0, 90), permutation(SEED, 1, 90)
    assert sorted(one) == sorted(two) == list(range(90))
    assert one.tolist() != two.tolist()


@pytest.mark.parametrize(("work", "steps"), [(s.Steps(amount=5), 5), (s.Epochs(amount=3), 39)])
def test_local_work_ends_where_the_study_says(site: Site, work: s.Steps | s.Epochs, steps: int) -> None:
    listener = Listener()
    site.run(site.job(make_task(work=work)), listener=listener)
    assert listener.asked == steps
    assert {heard[1] for heard in listener.heard} == {steps}


def test_work_in_seconds_ends_after_its_own_running_time_and_remembers_it(site: Site) -> None:
    study = make_study(make_task(work=s.Seconds(amount=0.2)))
    train, _ = rows_of(site, study)
    training = Training(study, make_model(study.task), train, SEED)
    while not training.done:
        training.advance()
    assert training.steps == 0 < training.step
    again = Training(study, make_model(study.task), train, SEED)
    again.restore(
        training.tensors(), step=training.step, elapsed_s=training.elapsed_s, loss_sum=training.loss_sum
    )
    assert again.done


# --- what a job gives -----------------------------------------------------------------------------------------------


def test_the_update_is_local_minus_global(site: Site) -> None:
    task = make_task(work=s.Steps(amount=9))
    job = site.job(task)
    outcome, update = site.run(job)
    train, _ = rows_of(site, job.study)
    training = Training(job.study, make_model(task), train, seed_of(job.study, 1, "clinic-a"))
    while not training.done:
        training.advance()
    local = training.network.tensors()
    for name, tensor in tensors_of(update).items():
        assert np.array_equal(tensor, local[name] - make_model(task)[name])
    assert outcome.rows == 90
    assert {m.name: (m.value, m.count) for m in outcome.metrics}["training_loss"] == (training.mean_loss, 90)


def test_metrics_are_of_the_received_model_on_the_test_rows(site: Site) -> None:
    job = site.job(make_task())
    outcome, _ = site.run(job)
    _, test = rows_of(site, job.study)
    network = Network(make_task(), make_model(job.study.task))
    expected = metrics.evaluate(network.outputs(test), test.labels, 2)
    assert outcome.metrics[:-1] == expected
    assert {m.count for m in expected} == {30}


def test_an_evaluation_round_trains_nothing(site: Site) -> None:
    listener = Listener()
    outcome, _ = site.run(site.job(make_task(), round_kind=RoundKind.EVALUATE), listener=listener)
    assert outcome.update is None
    assert "auc" in {m.name for m in outcome.metrics}
    assert "training_loss" not in {m.name for m in outcome.metrics}
    assert listener.asked == 0


def test_a_multi_layer_network_learns_three_classes(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    x, y = random.normal(size=300), random.normal(size=300)
    ring = np.digitize(np.hypot(x, y), [0.8, 1.5]).tolist()  # no line separates rings
    columns: Columns = {
        "x": x.tolist(),
        "y": y.tolist(),
        "ward": ["north"] * 300,
        "ill": [("in", "mid", "out")[place] for place in ring],
        "__patient": [str(index) for index in range(300)],
    }
    site = Site(tmp_path)
    site.snapshot = write_snapshot(tmp_path / "rings.parquet", columns)
    task = make_task(
        label=s.Label(column="ill", classes=("in", "mid", "out")),
        hidden=(16, 16),
        activation="tanh",
        optimizer=s.Adam(learning_rate=0.02),
        work=s.Epochs(amount=40),
        batch_size=32,
        split=s.SeededSplit(test_ratio=0.3),
    )
    model = make_model(task)
    before, update = site.run(site.job(task))
    trained = {name: tensor + model[name] for name, tensor in tensors_of(update).items()}
    after, _ = site.run(site.job(task, round_kind=RoundKind.EVALUATE), model=trained)
    accuracy = [{m.name: m.value for m in outcome.metrics}["accuracy"] for outcome in (before, after)]
    assert accuracy[0] < 0.7
    assert accuracy[1] > 0.9


# --- determinism ----------------------------------------------------------------------------------------------------


def test_the_same_job_gives_the_same_bytes_and_another_site_round_or_seed_others(site: Site) -> None:
    job = site.job(make_task(hidden=(6,), optimizer=s.Adam(learning_rate=0.01)))
    updates = [
        site.run(each)[1]
        for each in (
            job,
            job,
            msgspec.structs.replace(job, site="clinic-b"),
            msgspec.structs.replace(job, round=2),
            msgspec.structs.replace(job, study=msgspec.structs.replace(job.study, seed=12)),
        )
    ]
    assert updates[0] == updates[1]
    assert len(set(updates)) == 4


@pytest.mark.parametrize(
    "optimizer",
    [s.Sgd(learning_rate=0.1, momentum=0.9), s.Sgd(learning_rate=0.1), s.Adam(learning_rate=0.01)],
)
@pytest.mark.parametrize("step", [1, 13, 14, 59, 60])
def test_a_checkpoint_resumes_bit_for_bit(site: Site, optimizer: s.Sgd | s.Adam, step: int) -> None:
    job = site.job(make_task(hidden=(6,), optimizer=optimizer))
    listener = Listener(ask_at=(step,))
    undisturbed = site.run(job, listener=listener)
    assert listener.checkpoints == [step]
    resumed = Listener()
    outcome, update = site.run(job, listener=resumed)
    assert resumed.asked == 60 - step
    assert update == undisturbed[1]
    assert outcome.metrics == undisturbed[0].metrics


def test_a_resumed_job_keeps_the_threads_that_it_began_with(site: Site) -> None:
    job = site.job(make_task(), threads=2)
    site.run(job, listener=Listener(ask_at=(3,)))
    site.run(msgspec.structs.replace(job, threads=1))
    assert torch.get_num_threads() == 2


def test_another_models_checkpoint_is_not_resumed(site: Site) -> None:
    job = site.job(make_task())
    site.run(job, listener=Listener(ask_at=(30,)))
    fresh = Listener()
    site.run(msgspec.structs.replace(job, model=b"x" * 32), listener=fresh)
    assert fresh.asked == 60


def test_checkpoints_are_written_as_often_as_the_job_says(site: Site) -> None:
    listener = Listener()
    site.run(site.job(make_task(work=s.Steps(amount=5)), checkpoint_every_s=1e-9), listener=listener)
    assert [heard[2] for heard in listener.heard] == [0, 1, 2, 3, 4]
    assert listener.checkpoints == []
