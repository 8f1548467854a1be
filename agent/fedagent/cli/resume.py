# SPDX-License-Identifier: Apache-2.0
"""``fedagent resume``: end a pause; the governor still has the last word."""

import argparse
from pathlib import Path

from fedagent.cli import options
from fedagent.cli.output import print_lines
from fedagent.site import control
from fedagent.storage.settings import read_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``fedagent resume``."""
    options.add_config(parser)


def run(arguments: argparse.Namespace) -> int:
    """Resumes.

    Raises:
        UnavailableError: the daemon is not running.
        FedagentError: not allowed.
    """
    control.ask(Path(read_settings(arguments.config).paths.runtime), control.AskResume())
    print_lines("resumed")
    return 0
