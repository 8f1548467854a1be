# SPDX-License-Identifier: Apache-2.0
"""``fedagent demo``: four hospitals train one model on real patients' data, on this machine.

Rule: nothing is simulated but the distance: real broker, mutual TLS, approvals, snapshots, daemons and trainers, each a
process of its own; one hospital's machine is needed by its clinic in the middle, and training gets out of the way.
"""

import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from hashlib import sha256
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Final

import msgspec
from rich.console import Console

from fedagent.conditions.commands import DEMO_NOT_ENDED, HOSPITAL_SILENT
from fedagent.demo.broker import find_mosquitto
from fedagent.demo.federation import Federation, MetricRow, template
from fedagent.demo.hospital import DATASET, Hospital
from fedagent.demo.live import Progress
from fedagent.demo.processes import call, module
from fedagent.demo.report import COMBINED, References, Result, SiteRow, curves, final, print_table
from fedagent.demo.split import split_hospitals
from fedagent.errors import FedagentError
from fedagent.site import control
from fedagent.site.status import SiteStatus
from fedagent.wire.study import Study, TabularClassifier

DATA: Final = Path(__file__).with_name("data")
LIMIT_S: Final = 600.0
PIPE_WIDTH: Final = 100
REDRAW_S: Final = 0.2
LOOK_S: Final = 0.01
CLINIC_S: Final = 2.0
"""For how long one hospital's clinic needs its machine."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line asks for."""

    sites: int
    rounds: int
    seed: int
    keep: bool
    as_json: bool
    cache: Path


def run(options: Options) -> int:
    """Runs the demo and prints its result; gives the exit code.

    Raises:
        FedagentError: a part failed; its log is named.
    """
    stream = sys.stderr if options.as_json else sys.stdout
    width = None if stream.isatty() else PIPE_WIDTH
    console = Console(file=stream, width=width, highlight=False, soft_wrap=True)
    with _folder(keep=options.keep) as folder:
        result, picture = _run(Path(folder), options, console)
        kept = Path(folder) if options.keep else options.cache
        kept.mkdir(parents=True, exist_ok=True)
        drawn = kept / "demo.svg"
        drawn.write_text(picture)
        logs = Path(folder) if options.keep else _keep_logs(Path(folder), kept / "demo-logs")
    if options.as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(result)).decode() + "\n")
    else:
        print_table(console, result)
    console.print(f"curves {drawn}\nlogs   {logs}\nit took {result.seconds:g} s; nothing is left running")
    return 0


def _folder(*, keep: bool) -> AbstractContextManager[str]:
    if keep:
        return nullcontext(tempfile.mkdtemp(prefix="fedagent-demo-"))
    return tempfile.TemporaryDirectory(prefix="fedagent-demo-")


def _run(folder: Path, options: Options, console: Console) -> tuple[Result, str]:
    started = monotonic()
    names = [f"hospital-{index}" for index in range(1, options.sites + 1)]
    study = template(DATA / "study.toml", names, rounds=options.rounds, seed=options.seed)
    console.print(f"Setting up a coordinating centre and {len(names)} hospitals below {folder}")
    federation = Federation(folder, find_mosquitto(options.cache), study)
    with federation.broker, federation.programs:
        federation.start_aggregator()
        for name, data in zip(names, _split(folder, names, options.seed), strict=True):
            federation.add_hospital(name, dataset_of(study, data)).start(federation.programs)
            console.print(f"  {name} has joined")
        federation.start_study()
        federation.approve_everywhere()
        console.print(f"Study {study.name} is approved everywhere; training starts where the machine is idle")
        _watch(federation, options, console)
        rows = federation.metrics()
        statuses = {hospital.name: hospital.status() for hospital in federation.hospitals}
        digest = _export(federation, folder)
        console.print("Training without federation, to compare")
        references = _references(federation, folder)
    result = Result(
        seed=options.seed,
        rounds=options.rounds,
        model_digest=digest,
        federated_auc=final(rows, COMBINED, "auc"),
        pooled_auc=references.pooled_mean("auc"),
        seconds=round(monotonic() - started, 1),
        sites=tuple(_site(name, statuses[name], rows, references) for name in names),
    )
    return result, curves(rows, references)


def _site(name: str, status: SiteStatus | None, rows: Sequence[MetricRow], references: References) -> SiteRow:
    if status is None:
        raise FedagentError(HOSPITAL_SILENT(hospital=name))
    return SiteRow(
        name=name,
        rows=max(study.rows for study in status.studies),
        local_auc=references.local[name]["auc"].value,
        federated_auc=final(rows, name, "auc"),
        pooled_auc=references.pooled[name]["auc"].value,
        bytes_up=status.broker.bytes_up,
        bytes_down=status.broker.bytes_down,
        yielded_s=round(status.yielded_s, 1),
    )


def _split(folder: Path, names: Sequence[str], seed: int) -> list[Path]:
    return split_hospitals(DATA / "breast_cancer.csv", folder / "data", names=names, seed=seed)


def dataset_of(study: Study, data: Path) -> dict[str, object]:
    """The dataset file of a hospital whose columns are named as the study's."""
    columns: dict[str, object] = {}
    if isinstance(study.task, TabularClassifier):
        columns = {column.name: {"type": "number"} for column in study.task.columns}
        columns[study.task.label.column] = {"type": "text"}
    return {
        "name": DATASET,
        "description": "breast-cancer biopsies of this hospital",
        "patient": "patient",
        "source": [{"kind": "csv", "path": str(data)}],
        "columns": columns,
    }


def _watch(federation: Federation, options: Options, console: Console) -> None:
    """Shows progress until the study has ended; in the middle one clinic needs its machine."""
    progress, end = Progress(console, options.rounds), monotonic() + LIMIT_S
    clinic = _Clinic(federation.hospitals[-1], at_round=max(1, options.rounds // 2))
    with progress.shown():
        while not federation.ended():
            federation.programs.check()
            if monotonic() > end:
                raise FedagentError(DEMO_NOT_ENDED(limit_s=LIMIT_S))
            clinic.look(progress.update(federation.hospitals), for_s=REDRAW_S)
        progress.update(federation.hospitals)


class _Clinic:
    """The clinic of one hospital needs the machine once, while it trains."""

    def __init__(self, hospital: Hospital, *, at_round: int) -> None:
        self._hospital, self._round = hospital, at_round
        self._until: float | None = None
        self._pace = Event()

    def look(self, number: int, *, for_s: float) -> None:
        """Watches closely for a while: a small job is over in a tenth of a second."""
        end = monotonic() + for_s
        while monotonic() < end:
            if number >= self._round:
                self._act()
            self._pace.wait(LOOK_S)

    def _act(self) -> None:
        """Pauses the job that runs, and lets it go on when the clinic is done; again if it was too late."""
        status = self._hospital.status()
        if status is None:
            return
        if self._until is not None:
            if monotonic() > self._until:
                control.ask(self._hospital.runtime, control.AskResume())
                self._until = None
        elif status.yields == 0 and status.trainer.stage == "busy":
            control.ask(self._hospital.runtime, control.AskPause(reason="the clinic needs the machine"))
            self._until = monotonic() + CLINIC_S


def _export(federation: Federation, folder: Path) -> str:
    """SHA-256 of the final model's file."""
    model = folder / "model.safetensors"
    federation.fedaggregator("model", "export", federation.study.name, str(model))
    return sha256(model.read_bytes()).hexdigest()


def _references(federation: Federation, folder: Path) -> References:
    initial = folder / "initial.safetensors"
    federation.fedaggregator("model", "export", federation.study.name, str(initial), "--round", "0")
    snapshots = [f"--snapshot={each.name}={each.snapshot_path()}" for each in federation.hospitals]
    words = ("--study", str(federation.study_file), "--model", str(initial), "--json", *snapshots)
    return msgspec.json.decode(call(module("fedagent.trainer.baseline", *words)), type=References)


def _keep_logs(folder: Path, target: Path) -> Path:
    """The logs outlive the demo's folder."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for log in (*folder.glob("*.log"), *folder.glob("*/*.log")):
        shutil.copy(log, target / (log.name if log.parent == folder else f"{log.parent.name}.log"))
    return target
