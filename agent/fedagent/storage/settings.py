# SPDX-License-Identifier: Apache-2.0
"""Reads ``fedagent.toml``, its ``.d`` folder, and the approvals.

Rule: read once into frozen values; the daemon and the trainer's supervisor read the same files by the same code.
"""

from pathlib import Path

import msgspec

from fedagent.conditions.settings import APPROVAL_MISNAMED
from fedagent.core.approval import Approval
from fedagent.core.settings import Settings
from fedagent.errors import ConfigurationError
from fedagent.storage.toml import read_toml


def read_settings(path: Path) -> Settings:
    """The settings file with ``fedagent.d/*.toml`` beside it laid over in the order of their names.

    Relative paths in it are relative to its folder.

    Raises:
        ConfigurationError: with file and key path.
    """
    settings = read_toml(path, Settings, overlays=overlays(path))
    folder = path.absolute().parent
    broker = settings.broker
    files = {name: str(folder / getattr(broker, name)) for name in ("ca", "certificate", "key")}
    folders = {name: str(folder / getattr(settings.paths, name)) for name in settings.paths.__struct_fields__}
    return msgspec.structs.replace(
        settings,
        broker=msgspec.structs.replace(broker, **files),
        paths=msgspec.structs.replace(settings.paths, **folders),
    )


def overlays(path: Path) -> tuple[Path, ...]:
    """The files of the ``.d`` folder beside the settings file, in the order in which they are laid over it."""
    return tuple(sorted(path.with_suffix(".d").glob("*.toml")))


def read_approval(folder: Path, study: str) -> Approval | None:
    """The study's approval, or None where there is none.

    Raises:
        ConfigurationError: the file is there but wrong.
    """
    path = folder / f"{study}.toml"
    if not path.exists():
        return None
    approval = read_toml(path, Approval)
    if approval.study != study:
        raise ConfigurationError(APPROVAL_MISNAMED(path=path, found=approval.study, name=study))
    return approval
