# SPDX-License-Identifier: Apache-2.0
"""The snapshot program in the sandbox of its unit: a transient service with the directives of fedagent-snapshot@.service.

Rule: where the unit is installed, root's commands never run the program outside its sandbox; administrators' drop-ins count.
"""

import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from fedagent.core.settings import Paths, Settings
from fedagent.storage import disk
from fedagent.storage.files import write_atomically

SYSTEMD: Final = Path("/run/systemd/system")
"""Is there where systemd is PID 1, sd_booted(3)."""

DROP_INS: Final = Path("/etc/systemd/system")

_NOT_ONE: Final = "all"
"""The instance whose drop-ins count where a command is not about one dataset."""

_HIDDEN: Final = (Path("/home"), Path("/root"), Path("/run/user"))
"""Empty in the sandbox (``ProtectHome=tmpfs``)."""

_ITS_OWN: Final = ("Type=", "ExecStart=")


def in_sandbox(
    command: Sequence[str], settings: Settings, *, name: str | None, shown: Sequence[Path]
) -> list[str] | None:
    """The command line that runs the command there, or None where the unit is not installed or not for these settings.

    Args:
        name: the dataset.
        shown: files that the command must read, wherever they are.
    """
    if not _are_the_service_s(settings):
        return None
    unit = _unit(name or _NOT_ONE)
    found = subprocess.run(["systemctl", "cat", unit], capture_output=True, text=True, check=False)
    if found.returncode != 0:
        return None
    lines = [*directives(found.stdout), *(_visible(path) for path in shown if _is_hidden(path))]
    properties = [f"--property={line}" for line in lines]
    return ["systemd-run", "--quiet", "--pipe", "--wait", "--collect", *properties, "--", *command]


def directives(text: str) -> Iterator[str]:
    """The lines of ``[Service]`` that make the sandbox.

    Args:
        text: what ``systemctl cat`` prints: the unit and its drop-ins.
    """
    section = ""
    for line in text.splitlines():
        if line.startswith("["):
            section = line
        elif section == "[Service]" and "=" in line and not line.startswith(("#", ";", *_ITS_OWN)):
            yield line


def show_source(name: str, path: Path, settings: Settings) -> None:
    """The dataset's own snapshots see this file, too.

    Raises:
        StorageError: the drop-in cannot be written.
    """
    if not (_is_hidden(path) and _are_the_service_s(settings)):
        return
    folder = DROP_INS / f"{_unit(name)}.d"
    disk.make_folder(folder, 0o755)
    write_atomically(folder / "source.conf", f"[Service]\n{_visible(path)}\n".encode(), mode=0o644)
    subprocess.run(["systemctl", "daemon-reload"], check=False)


def _are_the_service_s(settings: Settings) -> bool:
    return os.geteuid() == 0 and SYSTEMD.is_dir() and settings.paths.trainer_state == Paths().trainer_state


def _unit(name: str) -> str:
    return f"fedagent-snapshot@{name}.service"


def _is_hidden(path: Path) -> bool:
    return any(path.is_relative_to(folder) for folder in _HIDDEN)


def _visible(path: Path) -> str:
    written = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'BindReadOnlyPaths="{written}"'
