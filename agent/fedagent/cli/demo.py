# SPDX-License-Identifier: Apache-2.0
"""``fedagent demo``: the whole idea on this machine, with everything embedded."""

import argparse
import os
from pathlib import Path
from typing import Final

from fedagent.conditions.commands import DEMO_NUMBERS, DEMO_SITES
from fedagent.demo.show import Options
from fedagent.demo.show import run as show
from fedagent.errors import UsageError

_SITES: Final = range(2, 9)
"""More hospitals would have too few patients of the 569 each."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``fedagent demo``."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fedagent"
    parser.add_argument("--sites", type=int, default=4, help="hospitals, 2 to 8 (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=10, help="rounds of training (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=42, help="same seed, same model (default: %(default)s)")
    parser.add_argument(
        "--json", action="store_true", help="the result as one JSON object; progress on stderr"
    )
    parser.add_argument("--keep", action="store_true", help="leave all folders where they are, and say where")
    parser.add_argument(
        "--cache", type=Path, default=cache, help="picture, logs, broker (default: %(default)s)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Runs it.

    Raises:
        UsageError: numbers that make no sense.
        FedagentError: a part failed.
    """
    if arguments.sites not in _SITES:
        raise UsageError(DEMO_SITES(sites=arguments.sites, least=_SITES.start, most=_SITES.stop - 1))
    if arguments.rounds < 1 or arguments.seed < 0:
        raise UsageError(DEMO_NUMBERS())
    options = Options(
        sites=arguments.sites,
        rounds=arguments.rounds,
        seed=arguments.seed,
        keep=arguments.keep,
        as_json=arguments.json,
        cache=arguments.cache,
    )
    return show(options)
