# SPDX-License-Identifier: Apache-2.0
"""``fedagent status``: how the site is, what it does, and why not.

Rule: the running daemon answers; when it is down this says so and exits with 69, or with ``--watch`` looks again.
"""

import argparse
import time
from functools import partial
from pathlib import Path

from fedagent.cli import layout, options, watch
from fedagent.cli.output import print_json, print_lines
from fedagent.cli.site_text import site_facts, site_rows
from fedagent.conditions.broker import OTHER_ANSWER
from fedagent.errors import UnavailableError
from fedagent.site import control
from fedagent.site.status import SiteStatus
from fedagent.storage.settings import read_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``fedagent status``."""
    options.add_config(parser)
    options.add_json(parser)
    watch.add_watch(parser)


def run(arguments: argparse.Namespace) -> int:
    """Prints the status, once or until Ctrl-C.

    Raises:
        UnavailableError: the daemon is not running; ``--watch`` shows that and looks again.
    """
    if arguments.watch is not None:
        looked = partial(_look, arguments.config)
        return watch.watch(looked, arguments.watch, as_json=arguments.json, now=lambda: time.time_ns() / 1e9)
    status = fetch(arguments.config)
    if arguments.json:
        print_json(status)
    else:
        print_lines(*layout.lines(site_rows(status), layout.screen_width()))
    return 0


def _look(config: Path) -> watch.Look:
    status = fetch(config)
    return watch.Look(value=status, rows=site_rows(status), facts=site_facts(status))


def fetch(config: Path) -> SiteStatus:
    """The running daemon's status.

    Raises:
        UnavailableError: the daemon is not running.
    """
    answer = control.ask(Path(read_settings(config).paths.runtime), control.AskStatus())
    if not isinstance(answer, control.StatusAnswer):
        raise UnavailableError(OTHER_ANSWER())
    return answer.status
