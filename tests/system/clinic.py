# SPDX-License-Identifier: Apache-2.0
"""A machine with the product, and what an administrator does there: settings, enrolment, datasets, a centre's services.

Rule: everything is done by the commands of the product, as root.
"""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec
import tomli_w

from fedagent.demo.federation import study_table
from fedagent.demo.hospital import DATASET
from fedagent.demo.show import dataset_of
from fedagent.site.status import SiteStatus
from fedagent.wire.study import Study
from tests.system.machine import Machine

CONFIG: Final = "/etc/fedagent/fedagent.toml"
CENTRE: Final = "/etc/fedaggregator"
PASSWORD: Final = "/opt/admin/password"
GOVERNOR: Final[Mapping[str, object]] = {
    "cpu_leave_ratio": 1.0,
    "cpu_enter_ratio": 1.0,
    "memory_available_mib": 128,
    "resume_after_s": 0.5,
}
"""Of a machine whose CPUs are also other machines'."""


class Clinic:
    """One hospital's machine."""

    def __init__(self, machine: Machine, name: str) -> None:
        self.machine, self.name = machine, name
        (machine.root / "opt/admin").mkdir(mode=0o700, exist_ok=True)

    def configure(self, **governor: object) -> None:
        """Writes the settings; what is given goes into ``[governor]``."""
        settings: dict[str, Any] = {
            "site": {"name": self.name},
            "broker": {"host": "localhost"},
            "governor": {**GOVERNOR, **governor},
        }
        self.machine.write(CONFIG, tomli_w.dumps(settings))

    def found_centre(self) -> None:
        """This machine has a study centre's authority, keys and settings."""
        self.machine.write(PASSWORD, "of a machine that is thrown away\n", 0o600)
        self.machine.run("fedaggregator", "init", "--host", "localhost", "--password-file", PASSWORD)

    def open_centre(self) -> None:
        """Broker and aggregator run."""
        self.machine.write(
            "/etc/systemd/system/mosquitto.service.d/fedaggregator.conf",
            f"[Service]\nExecStart=\nExecStart=/usr/sbin/mosquitto -c {CENTRE}/mosquitto.conf\n",
        )
        self.machine.run("systemctl", "unmask", "mosquitto.service")
        self.machine.run("systemctl", "daemon-reload")
        self.machine.run("systemctl", "start", "mosquitto.service", "fedaggregator.service")

    def join(self, centre: "Clinic") -> None:
        """The site has its certificate from that centre."""
        here, there = self.machine, centre.machine
        here.run("fedagent", "enroll", "--request", "/opt/admin/site.csr")
        there.write("/opt/admin/site.csr", here.read("/opt/admin/site.csr"))
        there.run(
            "fedaggregator", "site", "sign", "/opt/admin/site.csr", "--out", "/opt/admin/site.crt", "--password-file", PASSWORD
        )  # fmt: skip
        here.write("/opt/admin/site.crt", there.read("/opt/admin/site.crt"))
        here.write("/opt/admin/ca.crt", there.read(f"{CENTRE}/ca.crt"))
        here.run("fedagent", "enroll", "--certificate", "/opt/admin/site.crt", "--ca", "/opt/admin/ca.crt")

    def add_data(self, study: Study, table: Path) -> None:
        """A dataset of these rows, split and ordered as the demonstration does it, with its snapshot."""
        here = self.machine
        here.write("/srv/patients.csv", table.read_text())
        here.write(
            f"/etc/fedagent/datasets.d/{DATASET}.toml",
            tomli_w.dumps(dataset_of(study, Path("/srv/patients.csv"))),
        )
        here.write("/opt/admin/pseudonym.key", "", 0o600).write_bytes(
            sha256(f"{study.seed} {self.name}".encode()).digest()
        )
        here.run("install", "--owner=fedagent-trainer", "--group=fedagent-trainer", "--mode=600",
                 "/opt/admin/pseudonym.key", "/var/lib/fedagent-trainer/pseudonym.key")  # fmt: skip
        here.run("fedagent", "dataset", "snapshot", DATASET)

    def start_study(self, study: Study) -> None:
        """The centre on this machine creates and starts it."""
        self.machine.write("/opt/admin/study.toml", tomli_w.dumps(study_table(study)))
        self.machine.run("fedaggregator", "study", "create", "/opt/admin/study.toml")
        self.machine.run("fedaggregator", "study", "start", study.name)

    def approve(self, study: Study) -> None:
        """As soon as the agent knows the study."""
        self.machine.wait("the study", lambda: self.phase(study) is not None)
        self.machine.run("fedagent", "study", "approve", study.name, "--dataset", DATASET)

    def status(self) -> SiteStatus:
        """What the agent says of itself."""
        return msgspec.json.decode(self.machine.run("fedagent", "status", "--json"), type=SiteStatus)

    def phase(self, study: Study) -> str | None:
        """Where the study is at this site."""
        return next((each.phase for each in self.status().studies if each.study == study.name), None)

    def stage(self) -> str:
        """Where the trainer stands."""
        return self.status().trainer.stage

    def trainers(self) -> list[str]:
        """The trainer's instances that systemd knows."""
        listed = self.machine.run(
            "systemctl", "list-units", "--all", "--plain", "--no-legend", "fedagent-trainer@*.service"
        )
        return [line.split()[0] for line in listed.splitlines()]

    def failed(self) -> str:
        """The units that failed."""
        return self.machine.run("systemctl", "list-units", "--failed", "--plain", "--no-legend")
