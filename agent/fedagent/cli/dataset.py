# SPDX-License-Identifier: Apache-2.0
"""``fedagent dataset``: lists, adds, checks and snapshots local datasets.

Rule: this process never reads a patient's value: it starts the snapshot program, as the trainer's user and in its unit's
sandbox where that is installed, and shows what that prints.
"""

import argparse
import os
import pwd
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from fedagent.cli import options, snapshot_unit
from fedagent.cli.output import print_json, print_lines
from fedagent.conditions.commands import NOT_A_DATASET_NAME, SNAPSHOT_NOT_STARTED, STATE_NOT_SEEN
from fedagent.conditions.data import DATASET_EXISTS
from fedagent.core.settings import Settings
from fedagent.errors import ConfigurationError, StorageError, UsageError
from fedagent.storage.files import write_atomically
from fedagent.storage.settings import read_settings
from fedagent.wire.values import Name

PROGRAM: Final = (sys.executable, "-m", "fedagent.trainer.snapshot")


class Added(msgspec.Struct, frozen=True, kw_only=True):
    """What ``add --json`` prints."""

    dataset: str
    path: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``fedagent dataset``."""
    common = argparse.ArgumentParser(add_help=False)
    options.add_config(common)
    options.add_json(common)
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", parents=[common], help="all datasets, each with its current snapshot")
    add = actions.add_parser("add", parents=[common], help="write a first definition for a CSV file")
    add.add_argument("name", metavar="NAME")
    add.add_argument("--csv", type=Path, required=True, metavar="FILE", help="a CSV file with a header line")
    add.add_argument("--patient", metavar="COLUMN", help="the column that identifies the patient")
    check = actions.add_parser("check", parents=[common], help="whether the current snapshot fits a study")
    check.add_argument("name", metavar="NAME")
    check.add_argument("--study", type=Path, required=True, metavar="STUDY.toml")
    snapshot = actions.add_parser(
        "snapshot", parents=[common], help="make the next snapshot from the sources"
    )
    snapshot.add_argument("name", metavar="NAME")


def run(arguments: argparse.Namespace) -> int:
    """Does what the options say and prints it; the exit code.

    Raises:
        UsageError: a name that no dataset can have.
        ConfigurationError: the settings or the dataset's file must be corrected.
        StorageError: the definition cannot be written, or we may not become the trainer's user.
    """
    settings = read_settings(arguments.config)
    words = ["--config", str(arguments.config.absolute())]
    match arguments.action:
        case "list":
            words += ["--list"]
        case "check":
            words += ["--check", str(arguments.study.absolute()), _name(arguments)]
        case "snapshot":
            words += [_name(arguments)]
        case _:
            return _add(arguments, settings, words)
    shown = [arguments.study.absolute()] if arguments.action == "check" else []
    name = None if arguments.action == "list" else _name(arguments)
    return _start(words + ["--json"] * arguments.json, settings, name=name, shown=shown).returncode


def _add(arguments: argparse.Namespace, settings: Settings, words: list[str]) -> int:
    name = _name(arguments)
    path = Path(settings.paths.datasets).absolute() / f"{name}.toml"
    if path.exists():
        raise ConfigurationError(DATASET_EXISTS(path=path))
    words = [*words, "--draft", str(arguments.csv.absolute()), name]
    if arguments.patient is not None:
        words += [f"--patient={arguments.patient}"]
    source = arguments.csv.absolute()
    done = _start(words, settings, name=name, shown=[source], stdout=subprocess.PIPE)
    if done.returncode != 0:
        return done.returncode
    write_atomically(path, done.stdout, mode=0o640)
    _give_to_trainer(path, settings)
    snapshot_unit.show_source(name, source, settings)
    if arguments.json:
        print_json(Added(dataset=name, path=str(path)))
    else:
        print_lines(f"wrote {path}: correct it, then: sudo fedagent dataset snapshot {name}")
    return 0


def _start(
    words: list[str],
    settings: Settings,
    *,
    name: str | None,
    shown: Sequence[Path],
    stdout: int | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Runs the snapshot program to its end, as whom the trainer's state belongs to.

    Args:
        name: the dataset that it is about.
        shown: files that it must read besides.
    """
    sys.stdout.flush()
    command = [*PROGRAM, *words]
    become: dict[str, Any] = {}
    owner = _trainer(settings)
    try:
        sandboxed = snapshot_unit.in_sandbox(command, settings, name=name, shown=shown)
        if sandboxed is None and owner is not None and os.geteuid() == 0:
            groups = os.getgrouplist(owner.pw_name, owner.pw_gid)
            become = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": groups}
        return subprocess.run(
            sandboxed or command, check=False, stdin=subprocess.DEVNULL, stdout=stdout, **become
        )
    except OSError as error:
        who = owner.pw_name if owner is not None else "us"
        raise StorageError(SNAPSHOT_NOT_STARTED(user=who, reason=error.strerror)) from error


def _trainer(settings: Settings) -> pwd.struct_passwd | None:
    """The user to whom the trainer's state folder belongs, where that is not root."""
    try:
        owner = Path(settings.paths.trainer_state).stat().st_uid
        return pwd.getpwuid(owner) if owner != 0 else None
    except (FileNotFoundError, KeyError):
        return None  # Nothing installed: we are who asked.
    except OSError as error:
        raise StorageError(
            STATE_NOT_SEEN(path=settings.paths.trainer_state, reason=error.strerror)
        ) from error


def _give_to_trainer(path: Path, settings: Settings) -> None:
    """Root's file, readable by the trainer's user only."""
    owner = _trainer(settings)
    if owner is not None and os.geteuid() == 0:
        os.chown(path, 0, owner.pw_gid)


def _name(arguments: argparse.Namespace) -> str:
    try:
        return msgspec.convert(arguments.name, Name)
    except msgspec.ValidationError as error:
        raise UsageError(NOT_A_DATASET_NAME(name=arguments.name)) from error
