# SPDX-License-Identifier: Apache-2.0
"""What an administrator sets in ``/etc/fedagent/fedagent.toml``, as frozen values with their defaults.

Rule: every field has its unit in the name, its limits in the type and its line in ``etc/fedagent/fedagent.toml``.
"""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from fedagent.conditions.settings import ENTER_ABOVE_LEAVE
from fedagent.wire.values import Name, Ratio

CLOCK_PATTERN: Final = r"^([01][0-9]|2[0-3]):[0-5][0-9]\Z"
Clock = Annotated[str, Meta(pattern=CLOCK_PATTERN)]
Seconds = Annotated[float, Meta(ge=0.0)]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the settings file; an unknown key is an error with its path."""


class SiteSettings(Section, frozen=True, kw_only=True):
    """Who this server is."""

    name: Name


class BrokerSettings(Section, frozen=True, kw_only=True):
    """Where the broker is, and the files that prove who we are (PEM)."""

    host: str
    port: Annotated[int, Meta(ge=1, le=65535)] = 8883
    ca: str = "/etc/fedagent/ca.crt"
    certificate: str = "/etc/fedagent/site.crt"
    key: str = "/etc/fedagent/site.key"


class Paths(Section, frozen=True, kw_only=True):
    """Folders. The daemon's state, the trainer's state and the run-time folder belong to different users."""

    state: str = "/var/lib/fedagent"
    trainer_state: str = "/var/lib/fedagent-trainer"
    runtime: str = "/run/fedagent"
    approvals: str = "/etc/fedagent/approvals.d"
    datasets: str = "/etc/fedagent/datasets.d"


class TimeWindow(Section, frozen=True, kw_only=True):
    """Hours in which training is allowed, local time; ``until`` before ``from`` crosses midnight."""

    days: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] = (
        "mon", "tue", "wed", "thu", "fri", "sat", "sun",
    )  # fmt: skip
    start: Clock = msgspec.field(name="from", default="00:00")
    end: Clock = msgspec.field(name="until", default="23:59")


class GovernorSettings(Section, frozen=True, kw_only=True):
    """When the machine counts as idle. Enter and leave thresholds differ so that training does not flap."""

    cpu_leave_ratio: Ratio = 0.25
    cpu_enter_ratio: Ratio = 0.15
    cpu_samples: Annotated[int, Meta(ge=1, le=100)] = 2
    memory_available_mib: Annotated[int, Meta(ge=0)] = 1024
    disk_free_mib: Annotated[int, Meta(ge=0)] = 512
    resume_after_s: Seconds = 30.0
    facts_expire_s: Annotated[float, Meta(gt=0.0)] = 5.0
    pause_limit_s: Seconds = 600.0
    windows: tuple[TimeWindow, ...] = ()

    def __post_init__(self) -> None:
        if self.cpu_enter_ratio > self.cpu_leave_ratio:
            raise ValueError(ENTER_ABOVE_LEAVE(enter=self.cpu_enter_ratio, leave=self.cpu_leave_ratio))


class TrainerSettings(Section, frozen=True, kw_only=True):
    """The process that trains. ``auto`` uses the systemd socket where systemd runs the daemon, else a child."""

    launch: Literal["auto", "socket", "child"] = "auto"
    socket: str = "/run/fedagent-trainer.sock"
    threads: Annotated[int, Meta(ge=1, le=1024)] = 1
    checkpoint_every_s: Annotated[float, Meta(gt=0.0, le=30.0)] = 30.0
    snapshot_budget_mib: Annotated[int, Meta(ge=0)] = 10_240
    checkpoint_budget_mib: Annotated[int, Meta(ge=0)] = 10_240
    keep_warm_s: Seconds = 600.0
    step_limit_s: Annotated[float, Meta(gt=0.0)] = 600.0
    load_limit_s: Annotated[float, Meta(gt=0.0)] = 3600.0


class TransferSettings(Section, frozen=True, kw_only=True):
    """How models move. ``window`` chunks are under way at once in each direction."""

    window: Annotated[int, Meta(ge=1, le=64)] = 4
    blob_budget_mib: Annotated[int, Meta(ge=1)] = 20_480


class Settings(Section, frozen=True, kw_only=True):
    """The whole file. ``observe`` governs and records but never trains."""

    site: SiteSettings
    broker: BrokerSettings
    mode: Literal["train", "observe"] = "train"
    paths: Paths = Paths()
    governor: GovernorSettings = GovernorSettings()
    trainer: TrainerSettings = TrainerSettings()
    transfer: TransferSettings = TransferSettings()
