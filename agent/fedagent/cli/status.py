# SPDX-License-Identifier: Apache-2.0
"""``fedagent status``: how the site is, what it does, and why not.

Rule: the running daemon answers; when it is down this says so and exits with 69.
"""

import argparse
from pathlib import Path

from fedagent.cli import options
from fedagent.cli.output import local_time, print_json, print_lines, size
from fedagent.errors import UnavailableError
from fedagent.site import control
from fedagent.site.status import SiteStatus, StudyView
from fedagent.storage.settings import read_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``fedagent status``."""
    options.add_config(parser)
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Prints the status.

    Raises:
        UnavailableError: the daemon is not running.
    """
    status = fetch(arguments.config)
    if arguments.json:
        print_json(status)
    else:
        print_lines(*_lines(status))
    return 0


def fetch(config: Path) -> SiteStatus:
    """The running daemon's status.

    Raises:
        UnavailableError: the daemon is not running.
    """
    answer = control.ask(Path(read_settings(config).paths.runtime), control.AskStatus())
    if not isinstance(answer, control.StatusAnswer):
        raise UnavailableError("the daemon gave an answer of another kind: is it another version? restart it")
    return answer.status


def _lines(status: SiteStatus) -> list[str]:
    trainer = status.trainer
    doing = f"{trainer.stage}" + (
        f", study {trainer.study}, step {trainer.step} of {trainer.steps}" if trainer.study else ""
    )
    lines = [
        f"site      {status.site} (fedagent {status.version}, mode {status.mode})",
        f"broker    {status.link}; {size(status.bytes_up)} up, {size(status.bytes_down)} down since the start",
        f"verdict   {status.verdict.text} (since {local_time(status.verdict.since)})",
        f"machine   {_machine(status)}",
        f"trainer   {doing}",
        f"yielded   {status.yields} times, {status.yielded_s:.1f} s in all",
    ]
    if status.storage is not None:
        lines.append(
            f"storage   waits for room: {status.storage.text} (since {local_time(status.storage.since)})"
        )
    if not status.studies:
        lines.append("studies   none: the aggregator has announced none for this site yet")
    return lines + [line for study in status.studies for line in _study(study)]


def _study(study: StudyView) -> list[str]:
    where = ", ".join(filter(None, (study.place, study.phase)))
    head = f"study     {study.study}: {where} (since {local_time(study.since)})"
    return [head, f"          {study.note}"] if study.note else [head]


def _machine(status: SiteStatus) -> str:
    ratio, available = status.cpu_others_ratio, status.memory_available_mib
    if ratio is None and available is None:
        return "not looked at yet"
    used = "an unknown share" if ratio is None else f"{ratio:.0%}"
    memory = "unknown memory" if available is None else f"{available} MiB"
    return f"others use {used} of the CPU, {memory} available"
