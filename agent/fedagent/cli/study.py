# SPDX-License-Identifier: Apache-2.0
"""``fedagent study``: list, show, approve and revoke studies.

Rule: an approval binds to the digest of exactly what was shown; root writes it, nobody else can.
"""

import argparse
import os
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import tomli_w

from fedagent.cli import options
from fedagent.cli.output import print_json, print_lines
from fedagent.cli.status import fetch
from fedagent.core.approval import Approval
from fedagent.core.settings import Settings
from fedagent.errors import ConfigurationError, FedagentError, UsageError
from fedagent.site import control
from fedagent.storage import disk
from fedagent.storage.files import write_atomically
from fedagent.storage.settings import read_settings
from fedagent.wire.study import Study, TabularClassifier
from fedagent.wire.values import Name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``fedagent study``."""
    parser.add_argument(
        "action",
        choices=("list", "show", "approve", "revoke"),
        metavar="list|show|approve|revoke",
        help="list: all that are known here; show: what one would run, read and send; approve, revoke: as root",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="the study (not for list)")
    parser.add_argument(
        "--dataset", metavar="NAME", help="approve: the local dataset that the study may read"
    )
    parser.add_argument(
        "--rounds",
        type=int,
        metavar="COUNT",
        help="approve: at most so many rounds (default: as the study says)",
    )
    options.add_config(parser)
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Does the action.

    Raises:
        UsageError: a name or the dataset is missing.
        UnavailableError: the daemon is not running.
        FedagentError: the study is not known, or writing is not allowed.
    """
    settings = read_settings(arguments.config)
    if arguments.action == "list":
        return _list(arguments)
    if not arguments.name:
        raise UsageError(f"which study? fedagent study {arguments.action} NAME")
    name = _name(arguments.name, "study")
    if arguments.action == "revoke":
        return _revoke(settings, name)
    answer = control.ask(Path(settings.paths.runtime), control.AskStudy(name=name))
    if not isinstance(answer, control.StudyAnswer):
        raise FedagentError("the daemon gave an answer of another kind: is it another version? restart it")
    if arguments.action == "approve":
        return _approve(settings, answer, arguments)
    if arguments.json:
        print_json(answer)
    else:
        print_lines(
            *describe(answer.study, answer.digest), *([f"now         {answer.note}"] if answer.note else [])
        )
    return 0


def _name(text: str, what: str) -> str:
    try:
        return msgspec.convert(text, Name)
    except msgspec.ValidationError as error:
        raise UsageError(f"{text!r} is no {what}'s name: small letters, digits and hyphens") from error


def _list(arguments: argparse.Namespace) -> int:
    studies = fetch(arguments.config).studies
    if arguments.json:
        print_json(studies)
    elif not studies:
        print_lines("no study is known here: the aggregator has announced none for this site yet")
    else:
        print_lines(
            *(f"{each.study:<32} {'  '.join(filter(None, (each.place, each.phase)))}" for each in studies)
        )
    return 0


def _approve(settings: Settings, answer: control.StudyAnswer, arguments: argparse.Namespace) -> int:
    study = answer.study
    if not arguments.dataset:
        raise UsageError(f"which data may it read? fedagent study approve {study.name} --dataset NAME")
    if arguments.rounds is not None and arguments.rounds < 1:
        raise UsageError(
            f"--rounds {arguments.rounds}: at least 1; to end it: fedagent study revoke {study.name}"
        )
    _require_dataset(Path(settings.paths.datasets), _name(arguments.dataset, "dataset"))
    approval = Approval(
        study=study.name,
        digest=answer.digest,
        dataset=arguments.dataset,
        approved_by=os.environ.get("SUDO_USER") or os.environ.get("USER") or str(os.getuid()),
        approved_at=datetime.now(UTC).isoformat(timespec="seconds"),
        rounds=arguments.rounds,
    )
    fields = {key: value for key, value in msgspec.to_builtins(approval).items() if value is not None}
    write_atomically(
        Path(settings.paths.approvals) / f"{study.name}.toml", tomli_w.dumps(fields).encode(), mode=0o644
    )
    print_lines(
        *describe(study, answer.digest),
        f"approved    for dataset {approval.dataset} by {approval.approved_by}",
    )
    return 0


def _require_dataset(folder: Path, dataset: str) -> None:
    try:
        known = (folder / f"{dataset}.toml").exists()
    except OSError as error:
        raise FedagentError(f"cannot look into {folder}: {error.strerror}; try sudo") from error
    if not known:
        raise ConfigurationError(
            f"there is no dataset {dataset!r} in {folder}: fedagent dataset add {dataset}"
        )


def _revoke(settings: Settings, name: str) -> int:
    path = Path(settings.paths.approvals) / f"{name}.toml"
    try:
        if not path.exists():
            raise FedagentError(f"study {name} is not approved here: there is nothing to revoke")
        disk.remove(path)
        disk.sync_folder(path.parent)
    except OSError as error:
        raise FedagentError(f"cannot remove {path}: {error.strerror}; try sudo") from error
    print_lines(f"revoked     {name}: its work here stops now")
    return 0


def describe(study: Study, digest: str) -> list[str]:
    """What would run, on which columns, with which limits, and what would leave: for a person who approves it."""
    task, federation = study.task, study.federation
    lines = [
        f"study       {study.name}",
        f"digest      {digest}",
        f"purpose     {study.purpose}",
        f"contact     {study.contact}",
        f"task        {task.__struct_config__.tag} version {task.version}",
    ]
    if isinstance(task, TabularClassifier):
        lines += [
            f"reads       {', '.join(column.name for column in task.columns)}",
            f"predicts    {task.label.column} ({', '.join(task.label.classes)})",
            f"local work  {task.work.amount:g} {task.work.__struct_config__.tag} a round, batches of {task.batch_size}",
        ]
    else:
        lines.append("reads       no patient data")
    clip = f", clipped to a norm of {study.privacy.clip_norm:g}" if study.privacy.clip_norm else ""
    leaves = f"the number of training rows, and metrics over at least {study.privacy.minimum_cell} patients"
    return [
        *lines,
        f"rounds      {federation.rounds}, sites {', '.join(federation.sites)}, at least {federation.quorum} of them",
        f"leaves      the model's update (encrypted to the aggregator){clip}, {leaves}",
    ]
