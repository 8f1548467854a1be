# SPDX-License-Identifier: Apache-2.0
"""A whole federation for one fault: copied from a prepared one, so that it is there in a second and touches no other.

Rule: every program is the real one in a process of its own; a fault is provoked by a condition, never by a pause.
"""

import os
import re
import select
import shutil
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec
import tomli_w

from fedagent.aggregator.reports import Report, StudyStatus
from fedagent.aggregator.store import Store
from fedagent.demo.broker import Broker, MosquittoProgram, free_port
from fedagent.demo.federation import Federation, study_table, template
from fedagent.demo.hospital import DATASET, Hospital
from fedagent.demo.processes import Program, Programs, module
from fedagent.demo.show import DATA, dataset_of
from fedagent.demo.split import split_hospitals
from fedagent.storage.failpoints import ENVIRONMENT, Failpoint
from fedagent.wire import study as s
from tests.fakes.mqtt_proxy import Credentials, MqttProxy, Script, through

NAMES: Final = ("centre-east", "centre-west", "east", "north", "north-east", "north-west", "south", "west")
LIMIT_S: Final = 90.0
SEED: Final = 7
AGGREGATOR: Final = "aggregator"

SITE_PROGRAM: Final = "fedagent.cli.main"
AGGREGATOR_PROGRAM: Final = "fedagent.cli.aggregator"


class Prepared(msgspec.Struct, frozen=True):
    """A study centre that the hospitals have joined, each with its snapshot; nothing runs."""

    folder: Path
    port: int
    mosquitto: MosquittoProgram


def training_study(
    *sites: str, rounds: int = 2, deadline_s: float = 600.0, quorum: int | None = None
) -> s.Study:
    """A small network on the patients' table; its model takes five chunks."""
    made = template(DATA / "study.toml", sites, rounds=rounds, seed=SEED)
    assert isinstance(made.task, s.TabularClassifier)
    federation = msgspec.structs.replace(made.federation, deadline_s=deadline_s, quorum=quorum or len(sites))
    task = msgspec.structs.replace(made.task, hidden=(256, 256))
    return _named(
        "training", msgspec.structs.replace(made, task=task, federation=federation, chunk_bytes=65_536)
    )


def transfer_study(
    *sites: str,
    rounds: int = 2,
    parameters: int = 4_000_000,
    chunk_bytes: int = 262_144,
    deadline_s: float = 600.0,
    quorum: int | None = None,
) -> s.Study:
    """Nothing is trained, and whoever takes part the model is the same; large enough to be met on its way."""
    federation = s.Federation(rounds=rounds, sites=sites, quorum=quorum or len(sites), deadline_s=deadline_s)
    made = s.Study(
        name="transfer",
        purpose="Measures the transfer.",
        contact="study@example.org",
        task=s.Identity(parameters=parameters, increment=0.5),
        federation=federation,
        seed=SEED,
        chunk_bytes=chunk_bytes,
    )
    return _named("transfer", made)


def _named(kind: str, study: s.Study) -> s.Study:
    """With a name of its own, by which its undisturbed result is known."""
    return msgspec.structs.replace(study, name=f"{kind}-{s.study_digest(study).hex()[:12]}")


def prepare(folder: Path, mosquitto: MosquittoProgram, names: Sequence[str] = NAMES) -> Prepared:
    """Makes it by the real commands."""
    study = template(DATA / "study.toml", names, rounds=1, seed=SEED)
    paths = split_hospitals(DATA / "breast_cancer.csv", folder / "data", names=names, seed=SEED)
    made = Federation(folder, mosquitto, study)
    for name, path in zip(names, paths, strict=True):
        made.add_hospital(name, dataset_of(study, path))
    return Prepared(folder, made.port, mosquitto)


class Arena(Federation):
    """A copy of the prepared federation, on a port of its own, for one study."""

    def __init__(self, prepared: Prepared, folder: Path, study: s.Study) -> None:
        """Copies and configures; nothing runs."""
        self.folder, self.study = folder, study
        self.port = free_port()
        shutil.copytree(prepared.folder, folder, dirs_exist_ok=True, symlinks=True)
        _redirect(folder, {str(prepared.folder): str(folder), str(prepared.port): str(self.port)})
        self.centre = folder / "centre"
        self.config = self.centre / "fedaggregator.toml"
        self.study_file = folder / "study.toml"
        self.study_file.write_text(tomli_w.dumps(study_table(study)))
        self.broker = Broker(
            prepared.mosquitto,
            configuration=self.centre / "mosquitto.conf",
            port=self.port,
            log=folder / "broker.log",
        )
        self.programs = Programs()
        self.hospitals = [Hospital(name=name, folder=folder / name) for name in study.federation.sites]
        for hospital in self.hospitals:
            _approve(hospital, study)

    @contextmanager
    def running(self) -> Iterator[None]:
        """The broker runs and the study is started; of the other programs the test says when. All end."""
        with self.broker, self.programs:
            self.start_study()
            yield

    def add_study(self, study: s.Study) -> None:
        """Another study, approved and started; before the aggregator runs."""
        for name in study.federation.sites:
            _approve(self.hospital(name), study)
        file = self.folder / f"{study.name}.toml"
        file.write_text(tomli_w.dumps(study_table(study)))
        self.fedaggregator("study", "create", str(file))
        self.fedaggregator("study", "start", study.name)

    def hospital(self, name: str) -> Hospital:
        """The hospital of that name."""
        return next(each for each in self.hospitals if each.name == name)

    def start_all(self, **armed: str) -> dict[str, Program]:
        """Starts the aggregator and the hospitals, some with a failpoint at which they die; by name."""
        names = (AGGREGATOR, *(each.name for each in self.hospitals))
        return {name: self.launch(name, armed.get(name, "")) for name in names}

    def launch(self, name: str, failpoint: str = "") -> Program:
        """Starts a program (again); with a failpoint it may die."""
        if name == AGGREGATOR:
            words, log = module(AGGREGATOR_PROGRAM, "run", "--config", str(self.config)), self.aggregator_log
        else:
            hospital = self.hospital(name)
            words, log = module(SITE_PROGRAM, "run", "--config", str(hospital.config)), hospital.log
        armed = ["env", f"{ENVIRONMENT}={failpoint}"] if failpoint else []
        return self.programs.start(name, [*armed, *words], log)

    def restart(self, name: str) -> Program:
        """Kills a program, if it still lives, and starts it anew."""
        self.programs.kill(name)
        return self.launch(name)

    def final_model(self, limit_s: float = LIMIT_S) -> str:
        """SHA-256 of the final model, once the study has ended everywhere."""
        self.wait("the end of the study", self.ended, limit_s)
        model = self.folder / "model.safetensors"
        self.fedaggregator("model", "export", self.study.name, str(model))
        return sha256(model.read_bytes()).hexdigest()

    def token(self, point: Failpoint, number: int, program: str) -> tuple[str, Path]:
        """The failpoint's text, and the file that is gone when it was reached."""
        file = self.folder / "still-alive"
        file.touch()
        return f"{point}:{number}:{program}:{file}", file

    def proxy(self, name: str, *, up: Script = through, down: Script = through) -> MqttProxy:
        """A proxy between the program of that name and the broker; to be entered before the program starts."""
        path = self.config if name == AGGREGATOR else self.hospital(name).config
        files = tomllib.loads(path.read_text())["broker"]
        credentials = Credentials(
            ca=self.centre / "ca.crt",
            broker=(self.centre / "broker.crt", self.centre / "broker.key"),
            client=(path.parent / files["certificate"], path.parent / files["key"]),
        )
        made = MqttProxy(credentials, self.port, up=up, down=down)
        self.configure(name, "broker", port=made.port)
        return made

    def clone(self, name: str, folder: Path) -> Hospital:
        """A copy of the hospital's whole machine, as of a virtual one; not one of ``hospitals``."""
        source = self.hospital(name)
        shutil.copytree(source.folder, folder / name, symlinks=True, ignore=shutil.ignore_patterns("*.sock"))
        _redirect(folder, {str(source.folder): str(folder / name)})
        return Hospital(name=name, folder=folder / name)

    def status(self) -> StudyStatus:
        """The study's, as ``fedaggregator study status`` has it."""
        printed = self.fedaggregator("study", "status", self.study.name, "--json")
        return msgspec.json.decode(printed, type=Report).studies[0]

    def took_part(self) -> list[set[str]]:
        """Whose updates were folded, round by round."""
        store = Store(self.centre / "state" / "aggregator.sqlite")
        try:
            return [{site.site for site in result.sites} for result in store.results(self.study.name)]
        finally:
            store.close()

    def in_round(self, name: str, number: int) -> Callable[[], bool]:
        """Whether the hospital is in that round at least."""

        def reached() -> bool:
            status = self.hospital(name).status()
            return status is not None and any(each.round >= number for each in status.studies)

        return reached

    def configure(self, name: str, section: str, **values: object) -> None:
        """Changes settings of a hospital, or the aggregator's, before it starts."""
        path = self.config if name == AGGREGATOR else self.hospital(name).config
        table = tomllib.loads(path.read_text())
        table.setdefault(section, {}).update(values)
        path.write_text(tomli_w.dumps(table))


def until_dead(program: Program, limit_s: float = LIMIT_S) -> None:
    """Returns once the program has died."""
    descriptor = os.pidfd_open(program.pid)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        assert poll.poll(limit_s * 1000), f"{program.name} still lives"
    finally:
        os.close(descriptor)


def _redirect(folder: Path, changes: Mapping[str, str]) -> None:
    """Writes the new folder and port in every settings file."""
    for path in [*folder.rglob("*.toml"), *folder.rglob("mosquitto.conf")]:
        text = path.read_text()
        for old, new in changes.items():
            text = re.sub(rf"{re.escape(old)}(?![0-9])", new, text)
        path.write_text(text)


def _approve(hospital: Hospital, study: s.Study) -> None:
    approval = {
        "study": study.name,
        "digest": s.study_digest(study).hex(),
        "dataset": DATASET,
        "approved_by": "root",
        "approved_at": "2026-01-01T00:00:00+00:00",
    }
    path = hospital.config.parent / "approvals.d" / f"{study.name}.toml"
    path.write_text(tomli_w.dumps(approval))
