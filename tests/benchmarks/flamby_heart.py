# SPDX-License-Identifier: Apache-2.0
"""Fed-Heart-Disease on the real system: four hospitals, FLamby's split and settings, beside FLamby's published rows.

Run: ``python tests/benchmarks/flamby_heart.py --data DIR [--seeds 42,43] [--json]``. DIR holds UCI's four
``processed.*.data`` files and ``split_flamby_seed43.json``. Settings and published results: owkin/FLamby at edacf54,
``flamby/results/results_benchmark_fed_heart_disease``; du Terrail et al. 2022 (arXiv:2210.04620).

Rule: broker, aggregator, daemons and trainers are the product's own, as separate processes. They start once and run one
study after the other, so that each trainer imports torch once.
"""

import argparse
import csv
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Final

import tomli_w

from fedagent.demo.broker import find_mosquitto
from fedagent.demo.federation import Federation, study_table
from fedagent.demo.report import final
from fedagent.wire.study import (
    Category,
    ColumnSplit,
    FedAvg,
    FedProx,
    Label,
    Numeric,
    Sgd,
    SiteNormalisation,
    Steps,
    Study,
    TabularClassifier,
)
from fedagent.wire.study import (
    Federation as FederationPart,
)

CENTRES: Final = {
    "cleveland": "Cleveland",
    "hungarian": "Hungary",
    "switzerland": "Switzerland",
    "va": "Long Beach",
}
RAW_COLUMNS: Final = (
    "age", "sex", "cp", "trestbps", "chol", "fbs", "restecg", "thalach", "exang", "oldpeak", "slope", "ca", "thal", "num",
)  # fmt: skip
DROPPED: Final = {"slope", "ca", "thal"}
PUBLISHED: Final = {
    "FLamby FedAvg, lr 1e-3": ((0.731, 0.719, 0.650, 0.640), 0.685, 0.025),
    "FLamby FedYogi, lr 3.162e-3 (their best)": ((0.760, 0.753, 0.738, 0.676), 0.731, 0.011),
    "FLamby pooled": ((0.783, 0.764, 0.750, 0.644), 0.735, 0.003),
}
LIMIT_S: Final = 600.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table (or JSON); exit code 0."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--seeds", default="42,43,44,45,46")
    parser.add_argument("--learning-rates", default="1e-3,1e-2")
    parser.add_argument("--proximal", type=float, help="FedProx with this coefficient instead of FedAvg")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    seeds = [int(seed) for seed in options.seeds.split(",")]
    rates = [float(text) for text in options.learning_rates.split(",")]
    method = FedProx(proximal=options.proximal) if options.proximal else FedAvg()
    label = "FedProx" if options.proximal else "FedAvg"
    rows, start = {}, monotonic()
    with running(options.data, study("set-up", rates[0], 0, method)) as federation:
        ready = monotonic()
        for rate in rates:
            studies = [
                study(f"heart-{rate:g}-{seed}".replace(".", "-"), rate, seed, method) for seed in seeds
            ]
            rows[f"fedagent {label}, lr {rate:g}"] = [run(federation, each) for each in studies]
        ended = monotonic()
    seconds = {"set_up": ready - start, "study": (ended - ready) / (len(rates) * len(seeds))}
    if options.json:
        sys.stdout.write(json.dumps({"seeds": seeds, "rows": rows, "seconds": seconds}, indent=2) + "\n")
    else:
        sys.stdout.writelines(f"{line}\n" for line in table(rows, seeds))
        sys.stdout.write(f"{seconds['set_up']:.1f} s to set up, {seconds['study']:.1f} s a study\n")
    return 0


def study(name: str, rate: float, seed: int, method: FedAvg | FedProx) -> Study:
    """FLamby's benchmark as a study."""
    return Study(
        name=name,
        purpose="Fed-Heart-Disease of FLamby: presence of heart disease, four centres",
        contact="benchmark",
        seed=seed,
        task=TabularClassifier(
            columns=(
                Numeric(name="age"),
                Numeric(name="sex"),
                Numeric(name="trestbps"),
                Numeric(name="chol"),
                Numeric(name="fbs"),
                Numeric(name="thalach"),
                Numeric(name="exang"),
                Numeric(name="oldpeak"),
                Category(name="cp", categories=("1", "2", "3", "4"), baseline="1"),
                Category(name="restecg", categories=("0", "1", "2"), baseline="0"),
            ),
            label=Label(column="disease", classes=("0", "1")),
            optimizer=Sgd(learning_rate=rate),
            work=Steps(amount=100),
            batch_size=4,
            split=ColumnSplit(column="split"),
            normalisation=SiteNormalisation(features="all"),
        ),
        federation=FederationPart(
            rounds=15,
            sites=tuple(CENTRES),
            quorum=4,
            deadline_s=3600.0,
            aggregation=method,
            best_by="accuracy",
        ),
    )


@contextmanager
def running(data: Path, example: Study) -> Iterator[Federation]:
    """Broker, aggregator and the four hospitals' daemons; the example's seed is that of the patients' order."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fedagent"
    with tempfile.TemporaryDirectory(prefix="fedagent-heart-") as name:
        folder = Path(name)
        federation = Federation(folder, find_mosquitto(cache), example)
        with federation.broker, federation.programs:
            federation.start_aggregator()
            for centre, path in prepare(data, folder):
                federation.add_hospital(centre, dataset(path)).start(federation.programs)
            yield federation


def run(federation: Federation, wanted: Study) -> dict[str, float]:
    """Accuracy of the study's final model at each centre."""
    federation.study = wanted
    federation.study_file.write_text(tomli_w.dumps(study_table(wanted)))
    federation.start_study()
    federation.approve_everywhere()
    federation.wait(f"the end of study {wanted.name}", federation.ended, LIMIT_S)
    rows = federation.metrics()
    return {centre: final(rows, centre, "accuracy") for centre in CENTRES}


def prepare(data: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """Each centre's table with a header and FLamby's split as a column."""
    split = json.loads((data / "split_flamby_seed43.json").read_text())
    for centre in CENTRES:
        lines = csv.reader((data / f"processed.{centre}.data").read_text().splitlines())
        records = [dict(zip(RAW_COLUMNS, line, strict=True)) for line in lines]
        kept = [
            each for each in records if "?" not in {each[name] for name in RAW_COLUMNS if name not in DROPPED}
        ]
        tests = set(split[centre]["test_idx"])
        path = folder / f"{centre}.csv"
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([*(name for name in RAW_COLUMNS if name not in DROPPED), "split"])
            for index, each in enumerate(kept):
                values = [each[name] for name in RAW_COLUMNS if name not in DROPPED]
                writer.writerow([*values, "test" if index in tests else "train"])
        yield centre, path


def dataset(path: Path) -> dict[str, object]:
    """The centre's dataset file."""
    numbers = ("age", "sex", "trestbps", "chol", "fbs", "thalach", "exang", "oldpeak", "cp", "restecg")
    columns: dict[str, object] = {name: {"type": "number"} for name in numbers}
    columns["split"] = {"type": "text"}
    columns["disease"] = {
        "from": "num",
        "type": "text",
        "values": {"0": "0", "1": "1", "2": "1", "3": "1", "4": "1"},
    }
    return {
        "name": "patients",
        "description": "UCI heart disease, one centre",
        "source": [{"kind": "csv", "path": str(path)}],
        "columns": columns,
    }


def table(rows: dict[str, list[dict[str, float]]], seeds: Sequence[int]) -> Iterator[str]:
    """Ours beside the published rows: mean over seeds a centre, mean of the centres and its deviation over seeds."""
    yield f"Accuracy of the final model on each centre's test patients, seeds {', '.join(map(str, seeds))}"
    yield f"{'':<42}" + "".join(f"{name:>13}" for name in CENTRES.values()) + f"{'mean':>8}  sd"
    for name, runs in rows.items():
        means = [statistics.fmean(each.values()) for each in runs]
        centres = [statistics.fmean(each[centre] for each in runs) for centre in CENTRES]
        deviation = statistics.stdev(means) if len(means) > 1 else 0.0
        yield (
            f"{name:<42}"
            + "".join(f"{value:>13.3f}" for value in centres)
            + f"{statistics.fmean(means):>8.3f}  {deviation:.3f}"
        )
    for name, (centres_published, mean, deviation) in PUBLISHED.items():
        yield (
            f"{name:<42}"
            + "".join(f"{value:>13.3f}" for value in centres_published)
            + f"{mean:>8.3f}  {deviation:.3f}"
        )


if __name__ == "__main__":
    sys.exit(main())
