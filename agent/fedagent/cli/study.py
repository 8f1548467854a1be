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
from fedagent.conditions.broker import OTHER_ANSWER
from fedagent.conditions.commands import (
    CANNOT_REVOKE,
    DATASETS_NOT_SEEN,
    NO_DATASET_TO_APPROVE,
    NO_ROUNDS_APPROVED,
    NOT_A_DATASET_NAME,
    NOT_A_STUDY_NAME,
    NOTHING_TO_REVOKE,
    WHICH_DATA,
    WHICH_STUDY,
)
from fedagent.conditions.condition import Condition
from fedagent.core.approval import Approval
from fedagent.core.settings import Settings
from fedagent.errors import ConfigurationError, FedagentError, UnavailableError, UsageError
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
        UnavailableError: the daemon is not running, or is of another version.
        FedagentError: the study is not known, or writing is not allowed.
    """
    settings = read_settings(arguments.config)
    if arguments.action == "list":
        return _list(arguments)
    if not arguments.name:
        raise UsageError(WHICH_STUDY(action=arguments.action))
    name = _name(arguments.name, NOT_A_STUDY_NAME)
    if arguments.action == "revoke":
        return _revoke(settings, name)
    answer = control.ask(Path(settings.paths.runtime), control.AskStudy(name=name))
    if not isinstance(answer, control.StudyAnswer):
        raise UnavailableError(OTHER_ANSWER())
    if arguments.action == "approve":
        return _approve(settings, answer, arguments)
    if arguments.json:
        print_json(answer)
    else:
        print_lines(
            *describe(answer.study, answer.digest), *([f"now         {answer.note}"] if answer.note else [])
        )
    return 0


def _name(text: str, otherwise: Condition) -> str:
    try:
        return msgspec.convert(text, Name)
    except msgspec.ValidationError as error:
        raise UsageError(otherwise(name=text)) from error


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
        raise UsageError(WHICH_DATA(study=study.name))
    if arguments.rounds is not None and arguments.rounds < 1:
        raise UsageError(NO_ROUNDS_APPROVED(rounds=arguments.rounds, study=study.name))
    _require_dataset(Path(settings.paths.datasets), _name(arguments.dataset, NOT_A_DATASET_NAME))
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
        raise FedagentError(DATASETS_NOT_SEEN(path=folder, reason=error.strerror)) from error
    if not known:
        raise ConfigurationError(NO_DATASET_TO_APPROVE(dataset=dataset, folder=folder))


def _revoke(settings: Settings, name: str) -> int:
    path = Path(settings.paths.approvals) / f"{name}.toml"
    try:
        if not path.exists():
            raise FedagentError(NOTHING_TO_REVOKE(study=name))
        disk.remove(path)
        disk.sync_folder(path.parent)
    except OSError as error:
        raise FedagentError(CANNOT_REVOKE(path=path, reason=error.strerror)) from error
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
