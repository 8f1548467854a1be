# SPDX-License-Identifier: Apache-2.0
"""``fedaggregator``: finds the command, runs it, turns an error into one line and an exit code.

Rule: each group of commands is one module with ``add_commands``, imported only when it is asked for; a command's function
gets the parsed arguments and gives an exit code of ``fedagent.errors``.
"""

import argparse
import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from fedagent import VERSION
from fedagent.cli.main import EXIT_CODES, Parser, guarded

MODULES: Final[Mapping[str, str]] = {
    "init": "fedagent.cli.aggregator_init",
    "run": "fedagent.cli.aggregator_run",
    "site": "fedagent.cli.aggregator_site",
    "study": "fedagent.cli.aggregator_study",
    "metrics": "fedagent.cli.aggregator_study",
    "model": "fedagent.cli.aggregator_model",
    "explain": "fedagent.cli.explain",
}
"""The module of each command's first word."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and gives its exit code (``fedagent.errors``; 0 is success)."""
    words = list(sys.argv[1:] if argv is None else argv)
    return guarded("fedaggregator", lambda: _dispatch(words))


def _dispatch(words: list[str]) -> int:
    arguments = _parser(words).parse_args(words)
    code: int = arguments.command(arguments)
    return code


def _parser(words: list[str]) -> argparse.ArgumentParser:
    """The parser with the command that is asked for; with all of them where none is."""
    parser = Parser(
        prog="fedaggregator", description="The aggregator of a federated study.", epilog=EXIT_CODES
    )
    parser.add_argument("--version", action="version", version=f"fedaggregator {VERSION}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    known = MODULES.get(words[0]) if words else None
    for module in (known,) if known else dict.fromkeys(MODULES.values()):
        importlib.import_module(module).add_commands(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
