# SPDX-License-Identifier: Apache-2.0
"""``python -m fedagent.trainer.baseline``: what a study gives without federation, to compare the federation with.

Rule: the same preparation, split, network, optimizer, starting model and amount of work (rounds times local work) as
the study's; only who sees which rows differs. ``local``: each site alone. ``pooled``: all training rows in one place.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, assert_never

import msgspec
import numpy as np

from fedagent.conditions.commands import AT_SITE, NOT_SITE_AND_PATH, OPTION_FILE, SITE_TWICE
from fedagent.errors import FedagentError, UsageError
from fedagent.journal import coded
from fedagent.storage.toml import read_toml
from fedagent.trainer.tasks import TaskError, preparation
from fedagent.trainer.tasks.preparation import Encoded
from fedagent.trainer.tasks.tabular import evaluate, read_selection, require_training_rows
from fedagent.trainer.tasks.training import Training, configure, seed_of, tabular_task
from fedagent.trainer.tensor_file import Tensors, read_tensors
from fedagent.wire.study import Epochs, FedAvg, Seconds, Steps, Study

POOLED: Final = "pooled"
"""Stands for the site in the pooled training's seed."""

Selections = dict[str, preparation.Selection]


class Score(msgspec.Struct, frozen=True):
    """One metric on one site's test rows."""

    value: float
    count: int


Scores = dict[str, dict[str, Score]]
"""By site, then by metric."""


class Baseline(msgspec.Struct, frozen=True):
    """Both references, each on every site's own test rows."""

    local: Scores
    pooled: Scores


def compute(study: Study, selections: Selections, model: Tensors) -> Baseline:
    """Trains each site alone, then all together, from the same model.

    Raises:
        TaskError: the model is not of this study, or the training does not stay finite.
    """
    whole = _whole_work(study)
    local = {
        name: _train_and_score(whole, {name: each}, model, name)[name] for name, each in selections.items()
    }
    return Baseline(local=local, pooled=_train_and_score(whole, selections, model, POOLED))


def _train_and_score(study: Study, selections: Selections, model: Tensors, seed_name: str) -> Scores:
    """Trains on the training rows of these sites, in the order of their names, and scores each site."""
    task = tabular_task(study)
    train = _concatenate([selections[name].train for name in sorted(selections)])
    statistics = preparation.fit(task, train)
    rows = preparation.transform(task, train, statistics)
    training = Training(study, model, rows, seed_of(study, 1, seed_name))
    while not training.done:
        training.advance()
    trained = training.network.tensors()
    return {name: _score(study, trained, selections[name].test, statistics) for name in selections}


def _score(
    study: Study, model: Tensors, test: Encoded, statistics: preparation.Statistics
) -> dict[str, Score]:
    rows = preparation.transform(tabular_task(study), test, statistics)
    found = evaluate(study, model, rows, patients=test.patients)
    return {metric.name: Score(metric.value, metric.count) for metric in found}


def _concatenate(parts: Sequence[Encoded]) -> Encoded:
    return Encoded(
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.labels for part in parts]),
        sum(part.patients for part in parts),
    )


def _whole_work(study: Study) -> Study:
    """The study with all rounds' work in one, and no pull towards a global model that does not exist here."""
    task, rounds = tabular_task(study), study.federation.rounds
    match task.work:
        case Steps(amount=steps):
            work: Steps | Epochs | Seconds = Steps(amount=steps * rounds)
        case Epochs(amount=epochs):
            work = Epochs(amount=epochs * rounds)
        case Seconds(amount=seconds):
            work = Seconds(amount=seconds * rounds)
        case _:
            assert_never(task.work)
    federation = msgspec.structs.replace(study.federation, aggregation=FedAvg())
    return msgspec.structs.replace(
        study, task=msgspec.structs.replace(task, work=work), federation=federation
    )


# --- the command ------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints both references; exit code 0, or the error's with one line on standard error."""
    options = _parser().parse_args(arguments)
    try:
        study = read_toml(options.study, Study)
        configure(options.threads)
        selections = {site: _read(study, site, path) for site, path in _sites(options.snapshot)}
        baseline = compute(study, selections, _read_model(options.model))
    except FedagentError as error:
        sys.stderr.write(f"{coded(error.said)}\n")
        return error.exit_code
    text = msgspec.json.format(msgspec.json.encode(baseline)).decode() if options.json else _table(baseline)
    sys.stdout.write(f"{text}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fedagent.trainer.baseline", description=__doc__)
    parser.add_argument("--study", type=Path, required=True, metavar="STUDY.toml")
    parser.add_argument(
        "--snapshot", action="append", required=True, metavar="SITE=PATH", help="once for each site"
    )
    parser.add_argument(
        "--model", type=Path, required=True, metavar="FILE", help="initial model (safetensors)"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    return parser


def _sites(pairs: Sequence[str]) -> list[tuple[str, Path]]:
    split = [pair.partition("=") for pair in pairs]
    for pair, (name, equals, path) in zip(pairs, split, strict=True):
        if not (name and equals and path):
            raise UsageError(NOT_SITE_AND_PATH(option="--snapshot", pair=pair))
    if len({name for name, _, _ in split}) != len(split):
        raise UsageError(SITE_TWICE(option="--snapshot"))
    return [(name, Path(path)) for name, _, path in split]


def _read(study: Study, site: str, path: Path) -> preparation.Selection:
    try:
        with path.open("rb") as file:
            selection = read_selection(tabular_task(study), file.fileno())
        require_training_rows(study, selection)
    except OSError as error:
        raise UsageError(OPTION_FILE(option="--snapshot", path=path, reason=error.strerror)) from error
    except TaskError as error:
        raise TaskError(error.reason, AT_SITE(site=site, reason=error)) from error
    return selection


def _read_model(path: Path) -> Tensors:
    try:
        with path.open("rb") as file:
            return read_tensors(file.fileno())
    except OSError as error:
        raise UsageError(OPTION_FILE(option="--model", path=path, reason=error.strerror)) from error


def _table(baseline: Baseline) -> str:
    """One line for each site and metric."""
    lines = [f"{'site':<20} {'metric':<20} {'rows':>8} {'local':>8} {'pooled':>8}"]
    for site, scores in baseline.local.items():
        for metric, score in scores.items():
            pooled = baseline.pooled[site][metric]
            lines.append(f"{site:<20} {metric:<20} {score.count:>8} {score.value:>8.4f} {pooled.value:>8.4f}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
