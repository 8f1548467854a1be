# SPDX-License-Identifier: Apache-2.0
"""One hospital of the demo: its folders, settings, key, certificate, dataset and approval, made by the real commands.

Rule: what an administrator would type is what is run here.
"""

from hashlib import sha256
from pathlib import Path

import msgspec
import tomli_w

from fedagent.demo.processes import Program, Programs, call, module
from fedagent.errors import UnavailableError
from fedagent.site import control
from fedagent.site.status import SiteStatus
from fedagent.storage.files import make_private_folder, write_atomically

DATASET = "patients"


class Hospital(msgspec.Struct, frozen=True, kw_only=True):
    """A site below one folder, without root."""

    name: str
    folder: Path

    @property
    def config(self) -> Path:
        """Its settings file."""
        return self.folder / "etc" / "fedagent.toml"

    @property
    def log(self) -> Path:
        """What its daemon says."""
        return self.folder / "fedagent.log"

    @property
    def runtime(self) -> Path:
        """Where its control socket is."""
        return self.folder / "run"

    def prepare(
        self, *, port: int, ca: Path, dataset: dict[str, object], governor: dict[str, object]
    ) -> Path:
        """Writes its settings and dataset, makes its key; gives its certificate request."""
        etc = self.config.parent
        for folder in (etc / "approvals.d", etc / "datasets.d"):
            folder.mkdir(parents=True, exist_ok=True)
        self.config.write_text(tomli_w.dumps(self._settings(port, ca, governor)))
        (etc / "datasets.d" / f"{DATASET}.toml").write_text(tomli_w.dumps(dataset))
        request = etc / "site.csr"
        call(module("fedagent.cli.main", "enroll", "--request", str(request), "--config", str(self.config)))
        return request

    def _settings(self, port: int, ca: Path, governor: dict[str, object]) -> dict[str, object]:
        etc = self.config.parent
        return {
            "site": {"name": self.name},
            "broker": {
                "host": "localhost",
                "port": port,
                "ca": str(ca),
                "certificate": str(etc / "site.crt"),
                "key": str(etc / "site.key"),
            },
            "paths": {
                "state": str(self.folder / "daemon"),
                "trainer_state": str(self.folder / "trainer"),
                "runtime": str(self.runtime),
                "approvals": str(etc / "approvals.d"),
                "datasets": str(etc / "datasets.d"),
            },
            "trainer": {"launch": "child"},
            "governor": governor,
        }

    def join(self, certificate: Path) -> None:
        """Installs the certificate that the authority signed."""
        call(
            module(
                "fedagent.cli.main", "enroll", "--certificate", str(certificate), "--config", str(self.config)
            )
        )

    def choose_pseudonyms(self, seed: int) -> None:
        """The hospital's pseudonym key from the seed, so that a new demo splits and orders the patients as the last."""
        folder = make_private_folder(self.folder / "trainer")
        write_atomically(folder / "pseudonym.key", sha256(f"{seed} {self.name}".encode()).digest())

    def snapshot(self) -> None:
        """Makes the immutable snapshot that training reads."""
        call(module("fedagent.cli.main", "dataset", "snapshot", DATASET, "--config", str(self.config)))

    def start(self, programs: Programs) -> Program:
        """Starts its daemon."""
        words = module("fedagent.cli.main", "run", "--config", str(self.config))
        return programs.start(self.name, words, self.log)

    def approve(self, study: str) -> None:
        """Approves the study as root would."""
        words = ("study", "approve", study, "--dataset", DATASET, "--config", str(self.config))
        call(module("fedagent.cli.main", *words))

    def status(self) -> SiteStatus | None:
        """Its daemon's status, or None while it is not up."""
        try:
            answer = control.ask(self.runtime, control.AskStatus())
        except UnavailableError:
            return None
        return answer.status if isinstance(answer, control.StatusAnswer) else None

    def snapshot_path(self) -> Path:
        """The current snapshot's file."""
        folder = self.folder / "trainer" / "snapshots" / DATASET
        return folder / f"{(folder / 'current').read_text().strip()}.parquet"
