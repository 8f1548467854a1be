# SPDX-License-Identifier: Apache-2.0
"""``fedaggregator study`` and ``metrics``: check, create, start, stop and watch studies.

Rule: what changes a study goes through the running daemon; where none runs, ``create`` and ``start`` write the state
themselves under its lock. Reports read the state and need no daemon.
"""

import argparse
import time
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Final

from fedagent.aggregator import control, metrics, studies
from fedagent.aggregator.lock import locked
from fedagent.aggregator.part_report import ErrorView
from fedagent.aggregator.reports import DaemonView, Report, study_status
from fedagent.aggregator.settings import AggregatorSettings
from fedagent.aggregator.store import Store
from fedagent.cli import aggregator_options as options
from fedagent.cli import layout, watch
from fedagent.cli.output import print_json, print_lines
from fedagent.cli.study_text import report_facts, report_rows
from fedagent.errors import UnavailableError
from fedagent.storage import room
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
    watch.add_watch(status)
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
        now = _now()
        if isinstance(request, control.CreateStudy):
            studies.create(store, request.study, now)
        else:
            studies.start(store, request.name, now)
    finally:
        store.close()


def run_status(arguments: argparse.Namespace) -> int:
    """Prints where the studies are, once or until Ctrl-C."""
    settings = options.settings(arguments)
    if arguments.watch is not None:
        return watch.watch(
            partial(_look, settings, arguments.name), arguments.watch, as_json=arguments.json, now=_now
        )
    report = _report(settings, arguments.name)
    if arguments.json:
        print_json(report)
    else:
        print_lines(*layout.lines(report_rows(report), layout.screen_width()))
    return 0


def _look(settings: AggregatorSettings, name: str | None) -> watch.Look:
    report = _report(settings, name)
    return watch.Look(value=report, rows=report_rows(report), facts=report_facts(report))


def _report(settings: AggregatorSettings, name: str | None) -> Report:
    lack = room.lack(settings.state, reserve_bytes=max(1, settings.storage.free_mib * room.MIB))
    with options.opened_store(settings) as store:
        daemon = _daemon(settings, _now())
        now, deaf = _now(), _deaf(daemon)
        records = [store.study(name)] if name else store.studies()
        studies = tuple(study_status(store, record, now, lack=lack, deaf=deaf) for record in records)
    return Report(at=now, aggregator=daemon, studies=studies)


def _deaf(daemon: DaemonView) -> str:
    """What a study waits for because nobody hears its sites."""
    if daemon.broker is None:
        return "the aggregator, which does not answer"
    return "" if daemon.broker.connected else "the aggregator's connection to the broker"


def _daemon(settings: AggregatorSettings, now: float) -> DaemonView:
    try:
        return DaemonView(running=True, broker=control.look(settings.control_socket))
    except UnavailableError as error:
        view = ErrorView(code=error.said.code, text=error.said.text, at=now)
        return DaemonView(running=False, error=view)


def _now() -> float:
    return time.time_ns() / 1e9


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
