# SPDX-License-Identifier: Apache-2.0
"""``fedaggregator``: finds the command, runs it, turns an error into one line and an exit code.

Rule: each group of commands is one module with ``add_commands``; a command's function gets the parsed arguments and gives
an exit code of ``fedagent.errors``.
"""

import argparse
import sys
from collections.abc import Sequence

from fedagent import VERSION
from fedagent.cli import aggregator_init, aggregator_model, aggregator_run, aggregator_site, aggregator_study
from fedagent.cli.main import Parser, guarded

_EPILOG = "exit codes: 0 done, 1 failed, 64 wrong usage, 69 not running, 78 wrong configuration"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and gives its exit code (``fedagent.errors``; 0 is success)."""
    words = list(sys.argv[1:] if argv is None else argv)
    return guarded("fedaggregator", lambda: _dispatch(words))


def _dispatch(words: list[str]) -> int:
    arguments = _parser().parse_args(words)
    code: int = arguments.command(arguments)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="fedaggregator", description="The aggregator of a federated study.", epilog=_EPILOG)
    parser.add_argument("--version", action="version", version=f"fedaggregator {VERSION}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    for group in (aggregator_init, aggregator_run, aggregator_site, aggregator_study, aggregator_model):
        group.add_commands(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
