# SPDX-License-Identifier: Apache-2.0
"""``fedagent version``: print the version and the protocol."""

import argparse

from fedagent import VERSION
from fedagent.cli.output import print_json, print_lines
from fedagent.wire.values import PROTOCOL


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``fedagent version``."""
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def run(arguments: argparse.Namespace) -> int:
    """Prints it."""
    if arguments.json:
        print_json({"version": VERSION, "protocol": PROTOCOL})
    else:
        print_lines(f"fedagent {VERSION} (protocol {PROTOCOL})")
    return 0
