# SPDX-License-Identifier: Apache-2.0
"""A whole federation on one machine: authority, broker, aggregator and hospitals, as separate processes.

Rule: every step is the command that an administrator would type; the tests drive the same code.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any, Final

import msgspec
import tomli_w

from fedagent.conditions.commands import DID_NOT_COME
from fedagent.demo.broker import Broker, MosquittoProgram, free_port
from fedagent.demo.hospital import Hospital
from fedagent.demo.processes import Program, Programs, call, module
from fedagent.errors import FedagentError
from fedagent.storage.toml import read_toml
from fedagent.wire.study import Study

PASSWORD: Final = "demo"  # noqa: S105 (of a key that is deleted with the demo's folder)
POLL_S: Final = 0.2

PATIENT: Final[Mapping[str, object]] = {
    "cpu_leave_ratio": 1.0,
    "cpu_enter_ratio": 1.0,
    "memory_available_mib": 128,
    "disk_free_mib": 64,
    "resume_after_s": 0.5,
}
"""The governor of a machine that is shared with other hospitals' daemons, whose work each would take for the clinic's."""


class MetricRow(msgspec.Struct, frozen=True):
    """One line of ``fedaggregator metrics --json``."""

    round: int
    kind: str
    model: int
    site: str
    metric: str
    value: float
    count: int


class Federation:
    """Everything below one folder. Enter it to have broker and aggregator running."""

    def __init__(self, folder: Path, mosquitto: MosquittoProgram, study: Study) -> None:
        """Makes the authority and the configuration of aggregator and broker; starts nothing."""
        self.folder, self.study = folder, study
        self.port = free_port()
        self.centre = folder / "centre"
        self.config = self.centre / "fedaggregator.toml"
        self._password = folder / "password"
        self._password.write_text(PASSWORD)
        self._password.chmod(0o600)
        self.study_file = folder / "study.toml"
        self.study_file.write_text(tomli_w.dumps(study_table(study)))
        self.fedaggregator("init", str(self.centre), "--host", "localhost", "--port", str(self.port),
                           "--password-file", str(self._password), config=False)  # fmt: skip
        self.broker = Broker(
            mosquitto, configuration=self.centre / "mosquitto.conf", port=self.port, log=folder / "broker.log"
        )
        self.programs = Programs()
        self.hospitals: list[Hospital] = []

    @property
    def aggregator_log(self) -> Path:
        """What the aggregator says."""
        return self.folder / "aggregator.log"

    def fedaggregator(self, *words: str, config: bool = True) -> str:
        """What a ``fedaggregator`` command printed.

        Raises:
            FedagentError: it failed.
        """
        settings = ("--config", str(self.config)) if config else ()
        return call(module("fedagent.cli.aggregator", *words, *settings))

    def start_aggregator(self) -> Program:
        """Starts it (again)."""
        words = module("fedagent.cli.aggregator", "run", "--config", str(self.config))
        return self.programs.start("aggregator", words, self.aggregator_log)

    def add_hospital(
        self, name: str, dataset: dict[str, object], *, governor: Mapping[str, object] = PATIENT
    ) -> Hospital:
        """A hospital that has joined and has its snapshot; its daemon is not started."""
        hospital = Hospital(name=name, folder=self.folder / name)
        request = hospital.prepare(
            port=self.port, ca=self.centre / "ca.crt", dataset=dataset, governor=dict(governor)
        )
        certificate = request.with_name("signed.crt")
        self.fedaggregator("site", "sign", str(request), "--out", str(certificate),
                           "--password-file", str(self._password))  # fmt: skip
        hospital.join(certificate)
        hospital.choose_pseudonyms(self.study.seed)
        hospital.snapshot()
        self.hospitals.append(hospital)
        return hospital

    def start_study(self) -> None:
        """Creates and starts the study."""
        self.fedaggregator("study", "create", str(self.study_file))
        self.fedaggregator("study", "start", self.study.name)

    def metrics(self) -> list[MetricRow]:
        """All metrics that the aggregator has so far."""
        printed = self.fedaggregator("metrics", self.study.name, "--json")
        return msgspec.json.decode(printed, type=list[MetricRow])

    def wait(self, what: str, happened: Callable[[], bool], limit_s: float) -> None:
        """Returns once it has happened.

        Raises:
            FedagentError: not in time, or a program has ended.
        """
        end, pace = monotonic() + limit_s, Event()
        while not happened():
            self.programs.check()
            if monotonic() > end:
                raise FedagentError(DID_NOT_COME(what=what, limit_s=limit_s, folder=self.folder))
            pace.wait(POLL_S)

    def approve_everywhere(self, limit_s: float = 60.0) -> None:
        """Approves the study at each hospital as soon as it is known there."""
        for hospital in self.hospitals:
            self.wait(f"the study at {hospital.name}", partial(self.knows, hospital), limit_s)
            hospital.approve(self.study.name)

    def knows(self, hospital: Hospital) -> bool:
        """Whether the hospital's daemon has heard of the study."""
        status = hospital.status()
        return status is not None and any(each.study == self.study.name for each in status.studies)

    def ended(self) -> bool:
        """Whether every hospital knows that the study has ended."""
        return all(self.phases().get(hospital.name) == "ended" for hospital in self.hospitals)

    def phases(self) -> dict[str, str]:
        """The study's phase at each hospital that answers."""
        found = {}
        for hospital in self.hospitals:
            status = hospital.status()
            for each in status.studies if status else ():
                if each.study == self.study.name:
                    found[hospital.name] = each.phase
        return found


def study_table(study: Study) -> dict[str, Any]:
    """The study as its TOML file has it."""
    table: dict[str, Any] = _without_none(msgspec.to_builtins(study))
    return table


def _without_none(value: Any) -> Any:  # noqa: ANN401 (whatever TOML can hold)
    """The value without its absent fields: TOML has no null."""
    if isinstance(value, dict):
        return {key: _without_none(each) for key, each in value.items() if each is not None}
    if isinstance(value, list | tuple):
        return [_without_none(each) for each in value]
    return value


def template(path: Path, sites: Sequence[str], *, rounds: int, seed: int) -> Study:
    """The demo's study for these sites.

    Raises:
        ConfigurationError: the shipped file is damaged.
    """
    study = read_toml(path, Study)
    federation = msgspec.structs.replace(
        study.federation, sites=tuple(sites), quorum=len(sites), rounds=rounds
    )
    return msgspec.structs.replace(study, federation=federation, seed=seed)
