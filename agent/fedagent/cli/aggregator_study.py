# SPDX-License-Identifier: Apache-2.0
"""``fedaggregator study`` and ``metrics``: check, create, start, stop and watch studies.

Rule: what changes a study goes through the running daemon; where none runs, ``create`` and ``start`` write the state
themselves under its lock. Reports read the state and need no daemon.
"""

import argparse
import time
from pathlib import Path
from time import monotonic
from typing import Final

from fedagent.aggregator import control, metrics, studies
from fedagent.aggregator.lock import locked
from fedagent.aggregator.reports import StudyStatus, study_status
from fedagent.aggregator.settings import AggregatorSettings
from fedagent.aggregator.store import Store
from fedagent.cli import aggregator_options as options
from fedagent.cli.output import local_time, print_json, print_lines
from fedagent.errors import UnavailableError
from fedagent.storage import room
from fedagent.wire.messages import RoundKind
from fedagent.wire.study import study_digest

START_S: Final = 10.0
"""How long a daemon may hold the state's lock before it answers."""

TURN_S: Final = 0.2


def add_commands(commands: options.Commands) -> None:
    """Adds the commands."""
    group = options.group(commands, "study", "check, create, start, stop and watch studies")
    check = options.command(group, "check", "say whether a study's file is right", run_check)
    check.add_argument("file", type=Path, metavar="FILE")
    create = options.command(group, "create", "make a study known; it does not start yet", run_create)
    create.add_argument("file", type=Path, metavar="FILE")
    start = options.command(group, "start", "open the study's first round", run_start)
    start.add_argument("name", metavar="NAME")
    stop = options.command(group, "stop", "end a study for good; sites stop their work on it", run_stop)
    stop.add_argument("name", metavar="NAME")
    stop.add_argument("--reason", default="stopped by the study centre", help="what the sites are told")
    status = options.command(group, "status", "where studies are, and what they wait for", run_status)
    status.add_argument("name", metavar="NAME", nargs="?")
    options.add_json(status)
    table = options.command(
        commands, "metrics", "every round's metrics, combined and of each site", run_metrics
    )
    table.add_argument("name", metavar="STUDY")
    form = table.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="print CSV (default)")
    form.add_argument("--json", action="store_true", help="print JSON")


def run_check(arguments: argparse.Namespace) -> int:
    """Nothing but the study's digest, where the file is right."""
    study = studies.read_study(arguments.file)
    print_lines(f"{arguments.file}: study {study.name} is right, its digest is {study_digest(study).hex()}")
    return 0


def run_create(arguments: argparse.Namespace) -> int:
    """Makes the study known."""
    study = studies.read_study(arguments.file)
    _change(options.settings(arguments), control.CreateStudy(study=study))
    print_lines(f"study {study.name} is created; next: fedaggregator study start {study.name}")
    return 0


def run_start(arguments: argparse.Namespace) -> int:
    """Starts the study."""
    _change(options.settings(arguments), control.StartStudy(name=arguments.name))
    print_lines(f"study {arguments.name} is started; see fedaggregator study status {arguments.name}")
    return 0


def run_stop(arguments: argparse.Namespace) -> int:
    """Ends the study; the sites must hear of it, so this needs the daemon."""
    found = options.settings(arguments)
    control.ask(found.control_socket, control.StopStudy(name=arguments.name, text=arguments.reason))
    print_lines(f"study {arguments.name} is stopped")
    return 0


def _change(found: AggregatorSettings, request: control.CreateStudy | control.StartStudy) -> None:
    """The daemon does it, or this command where none runs; one that is just starting is waited for."""
    end = monotonic() + START_S
    while not _asked(found, request):
        try:
            with locked(found.state, within_s=TURN_S):
                _change_store(found, request)
        except UnavailableError:
            if monotonic() > end:
                raise
        else:
            return


def _asked(found: AggregatorSettings, request: control.CreateStudy | control.StartStudy) -> bool:
    try:
        control.ask(found.control_socket, request)
    except UnavailableError:
        return False
    return True


def _change_store(found: AggregatorSettings, request: control.CreateStudy | control.StartStudy) -> None:
    store = Store(found.store)
    try:
        now = time.time_ns() / 1e9
        if isinstance(request, control.CreateStudy):
            studies.create(store, request.study, now)
        else:
            studies.start(store, request.name, now)
    finally:
        store.close()


def run_status(arguments: argparse.Namespace) -> int:
    """Prints where the studies are."""
    settings = options.settings(arguments)
    lack = room.lack(settings.state, reserve_bytes=max(1, settings.storage.free_mib * room.MIB))
    with options.opened_store(settings) as store:
        records = [store.study(arguments.name)] if arguments.name else store.studies()
        found = [study_status(store, record, lack) for record in records]
    if arguments.json:
        print_json(found)
    elif found:
        for each in found:
            print_lines(*_status_lines(each))
    else:
        print_lines("there is no study yet: fedaggregator study create FILE")
    return 0


def _status_lines(status: StudyStatus) -> list[str]:
    where = f", {_round_text(status)} ({status.round_phase})" if status.round else ""
    lines = [f"study {status.name}: {status.phase}{where}"]
    if status.reason:
        lines.append(f"  {status.reason}")
    if status.deadline_at is not None and status.phase == "running":
        lines.append(f"  deadline {local_time(status.deadline_at)}, quorum {status.quorum}")
    if status.left_out and status.round:
        lines.append(f"  round {status.round - 1} closed without {', '.join(status.left_out)}")
    if status.metrics:
        lines.append(
            "  last metrics: " + ", ".join(f"{name} {value:.4f}" for name, value in status.metrics.items())
        )
    lines += [f"  {part.site}: {part.phase}{f' ({part.text})' if part.text else ''}" for part in status.parts]
    return lines


def _round_text(status: StudyStatus) -> str:
    if status.round_kind == RoundKind.EVALUATE:
        return "evaluation of the final model"
    return f"round {status.round} of {status.rounds}"


def run_metrics(arguments: argparse.Namespace) -> int:
    """Prints the table of metrics."""
    with options.opened_store(options.settings(arguments)) as store:
        store.study(arguments.name)
        table = metrics.rows(store.results(arguments.name))
    if arguments.json:
        print_json(table)
    else:
        print_lines(*metrics.to_csv(table).removesuffix("\n").split("\n"))
    return 0
