# SPDX-License-Identifier: Apache-2.0
"""``fedagent pause``: stop training now, for a time or until ``fedagent resume``.

Rule: the daemon decides who may (root, group fedagent-admin).
"""

import argparse
import re
from pathlib import Path
from typing import Final

from fedagent.cli import options
from fedagent.cli.output import print_lines
from fedagent.conditions.commands import DURATION_OUT_OF_RANGE, NOT_A_DURATION
from fedagent.errors import UsageError
from fedagent.site import control
from fedagent.storage.settings import read_settings

_UNIT_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``fedagent pause``."""
    parser.add_argument(
        "--for", dest="duration", metavar="TIME", help="such as 90s, 30m, 4h, 2d (default: until resumed)"
    )
    parser.add_argument("--reason", default="", help="shown to whoever asks why")
    options.add_config(parser)


def run(arguments: argparse.Namespace) -> int:
    """Pauses.

    Raises:
        UnavailableError: the daemon is not running.
        FedagentError: not allowed.
    """
    for_s = seconds(arguments.duration) if arguments.duration else None
    request = control.AskPause(for_s=for_s, reason=arguments.reason)
    control.ask(Path(read_settings(arguments.config).paths.runtime), request)
    print_lines(f"paused {'for ' + arguments.duration if arguments.duration else 'until fedagent resume'}")
    return 0


def seconds(text: str) -> float:
    """The duration in seconds.

    Raises:
        UsageError: not a number with s, m, h or d, nothing, or more than a year.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not match:
        raise UsageError(NOT_A_DURATION(given=text))
    value = float(match[1]) * _UNIT_S[match[2]]
    if not 0.0 < value <= control.LONGEST_PAUSE_S:
        raise UsageError(DURATION_OUT_OF_RANGE(given=text))
    return value
