# SPDX-License-Identifier: Apache-2.0
"""The product on a machine's disk, where the packages put it.

Rule: the units and their companions are the repository's own; only the interpreter is Debian's, with the libraries of this
environment shown to it.
"""

import shutil
import stat
import sys
import sysconfig
from pathlib import Path
from typing import Final

from fedagent.conditions.catalog import catalog
from tests.system.machine import Machine
from tests.system.rootfs import PYTHON, NotPossible

ROOT: Final = Path(__file__).parents[2]
UNITS: Final = ROOT / "systemd"
PREFIX: Final = "/usr/lib/fedagent"
INTERPRETER: Final = f"{PREFIX}/python/bin/python3"
PROGRAMS: Final = {
    "/usr/bin/fedagent": ("fedagent.cli.main", "main"),
    "/usr/bin/fedaggregator": ("fedagent.cli.aggregator", "main"),
    f"{PREFIX}/bin/fedagent-trainer": ("fedagent.trainer.supervisor", "main"),
    f"{PREFIX}/bin/fedagent-snapshot": ("fedagent.trainer.snapshot", "main"),
}
PLACES: Final = {
    ".service": "usr/lib/systemd/system/{stem}.service",
    ".socket": "usr/lib/systemd/system/{stem}.socket",
    ".slice": "usr/lib/systemd/system/{stem}.slice",
    ".preset": "usr/lib/systemd/system-preset/{stem}.preset",
    ".sysusers": "usr/lib/sysusers.d/{stem}.conf",
    ".tmpfiles": "usr/lib/tmpfiles.d/{stem}.conf",
}


def shown() -> list[tuple[Path, str]]:
    """What of ours the machine must be shown.

    Raises:
        NotPossible: this environment is for another Python than the machine's.
    """
    if sys.version_info[:2] != PYTHON:
        here, there = sys.version_info[:2], PYTHON
        raise NotPossible(
            f"the environment is for Python {here[0]}.{here[1]}, Debian 12 has {there[0]}.{there[1]}"
        )
    return [
        (ROOT / "agent", f"{PREFIX}/agent"),
        (Path(sysconfig.get_path("purelib")), f"{PREFIX}/libraries"),
        (ROOT / "tests", f"{PREFIX}/tests"),
    ]


def put(root: Path) -> None:
    """Everything is on the disk below ``root``, as after unpacking the packages."""
    for file in UNITS.iterdir():
        target = root / PLACES[file.suffix].format(stem=file.stem)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    texts = root / "usr/lib/systemd/catalog/fedagent.catalog"
    texts.parent.mkdir(parents=True, exist_ok=True)
    texts.write_text(catalog())
    python = root / INTERPRETER.lstrip("/")
    python.parent.mkdir(parents=True)
    python.symlink_to("/usr/bin/python3")
    home = python.parents[1]
    (home / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    packages = home / f"lib/python{PYTHON[0]}.{PYTHON[1]}/site-packages"
    packages.mkdir(parents=True)
    (packages / "fedagent.pth").write_text(f"{PREFIX}/agent\n{PREFIX}/libraries\n")
    for program, (module, function) in PROGRAMS.items():
        _program(root / program.lstrip("/"), module, function)


def _program(path: Path, module: str, function: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"#!{INTERPRETER} -P\nimport sys\n\nfrom {module} import {function}\n\nsys.exit({function}())\n"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


def set_up(machine: Machine) -> None:
    """What the packages' scripts do after unpacking."""
    machine.run("systemd-sysusers")
    machine.run("systemd-tmpfiles", "--create", "fedagent.conf", "fedaggregator.conf")
    machine.run("journalctl", "--update-catalog")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "preset", "fedagent.service", "fedaggregator.service")
