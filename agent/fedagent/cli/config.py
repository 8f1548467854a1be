# SPDX-License-Identifier: Apache-2.0
"""``fedagent config``: check the settings, or show the effective ones and where each came from.

Rule: what is checked here is what the daemon would say at its start.
"""

import argparse
import tomllib
from collections.abc import Iterator
from typing import Any

import msgspec

from fedagent.cli import options
from fedagent.cli.output import print_json, print_lines
from fedagent.storage.settings import overlays, read_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``fedagent config``."""
    parser.add_argument(
        "action",
        choices=("check", "show"),
        metavar="check|show",
        help="check: only say whether it is right; show: what is in force, and which file says so",
    )
    options.add_config(parser)
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Checks or shows.

    Raises:
        ConfigurationError: with file and key path.
    """
    settings = read_settings(arguments.config)
    effective = dict(_leaves(msgspec.to_builtins(settings)))
    origin = {
        key: str(path)
        for path in (arguments.config, *overlays(arguments.config))
        for key, _ in _leaves(tomllib.loads(path.read_text(encoding="utf-8")))
    }
    if arguments.json:
        print_json(
            {key: {"value": value, "from": origin.get(key, "default")} for key, value in effective.items()}
        )
    elif arguments.action == "show":
        print_lines(
            *(f"{key} = {value!r}  # {origin.get(key, 'default')}" for key, value in effective.items())
        )
    else:
        print_lines(f"{arguments.config} is right: site {settings.site.name}, mode {settings.mode}")
    return 0


def _leaves(table: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value with its key path."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
