# SPDX-License-Identifier: Apache-2.0
"""What an administrator sets in ``/etc/fedaggregator/fedaggregator.toml``, as frozen values with their defaults.

Rule: every field has its limits in the type and its line in ``etc/fedaggregator/fedaggregator.toml``.
"""

from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from fedagent.core.settings import BrokerSettings
from fedagent.storage.toml import read_toml

DEFAULT_PATH: Final = Path("/etc/fedaggregator/fedaggregator.toml")


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the settings file; an unknown key is an error with its path."""


class AggregatorBroker(BrokerSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the broker is, and the files that prove who we are (PEM)."""

    host: str = "localhost"
    ca: str = "/etc/fedaggregator/ca.crt"
    certificate: str = "/etc/fedaggregator/aggregator.crt"
    key: str = "/etc/fedaggregator/aggregator.key"


class AggregatorPaths(Section, frozen=True):
    """Folders: what must survive, and where the control socket is."""

    state: str = "/var/lib/fedaggregator"
    runtime: str = "/run/fedaggregator"


class AggregatorTransfer(Section, frozen=True):
    """How models move. ``window`` chunks are under way at once to all sites together and from each site."""

    window: Annotated[int, Meta(ge=1, le=64)] = 4


class AggregatorStorage(Section, frozen=True):
    """Room on the disk: below ``free_mib`` free no update is taken and no model is made; models' files stay in their budget."""

    free_mib: Annotated[int, Meta(ge=0)] = 512
    model_budget_mib: Annotated[int, Meta(ge=0)] = 102_400


class AggregatorSettings(Section, frozen=True):
    """The whole file."""

    broker: AggregatorBroker = AggregatorBroker()
    paths: AggregatorPaths = AggregatorPaths()
    transfer: AggregatorTransfer = AggregatorTransfer()
    storage: AggregatorStorage = AggregatorStorage()

    @property
    def state(self) -> Path:
        """The state folder."""
        return Path(self.paths.state)

    @property
    def store(self) -> Path:
        """The database."""
        return self.state / "aggregator.sqlite"

    @property
    def models(self) -> Path:
        """The folder of global models."""
        return self.state / "models"

    @property
    def blobs(self) -> Path:
        """The folder of models as sites fetch them."""
        return self.state / "blobs"

    @property
    def control_socket(self) -> Path:
        """Where the daemon listens for commands."""
        return Path(self.paths.runtime) / "control.sock"


def read_aggregator_settings(path: Path) -> AggregatorSettings:
    """The settings in the file.

    Raises:
        ConfigurationError: with file and key path.
    """
    return read_toml(path, AggregatorSettings)
