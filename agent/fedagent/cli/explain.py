# SPDX-License-Identifier: Apache-2.0
"""``fedagent explain``, ``fedaggregator explain``: what a code means, and what to do.

Rule: everything it says is in the table of conditions; it needs no daemon and no settings.
"""

import argparse
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Final

import msgspec

from fedagent.cli import options
from fedagent.cli.output import print_json, print_lines
from fedagent.conditions.catalog import named
from fedagent.conditions.commands import NO_SUCH_CODE
from fedagent.conditions.condition import Condition, ExitCode, Severity
from fedagent.conditions.table import TABLE
from fedagent.errors import UsageError

if TYPE_CHECKING:
    from fedagent.cli.aggregator_options import Commands

_AREA: Final = len("FA1")


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """What ``--json`` prints of a condition.

    Attributes:
        text: what is so; each value has its name in its place.
        action: what to do, empty where nothing is to be done.
        exit_code: of a command that ends with it; none does with what is only told.
    """

    code: str
    title: str
    text: str
    action: str
    severity: str
    exit_code: int | None


def add_commands(commands: "Commands") -> None:
    """Adds the command to ``fedaggregator``."""
    summary = "what a code such as FA1001 means, and what to do"
    parser = commands.add_parser("explain", help=summary, description=summary)
    parser.set_defaults(command=run)
    add_arguments(parser)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``fedagent explain``."""
    parser.add_argument(
        "code", nargs="?", metavar="CODE", help="as it ends an error or a warning (default: list all)"
    )
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Prints the condition, or the list of all.

    Raises:
        UsageError: no condition has that code.
    """
    if arguments.code is None:
        every = [explained(each) for each in TABLE.values()]
        if arguments.json:
            print_json(every)
        else:
            print_lines(*(f"{each.code}  {each.title}" for each in every))
        return 0
    found = explained(_find(arguments.code))
    if arguments.json:
        print_json(found)
    else:
        print_lines(*_lines(found))
    return 0


def explained(condition: Condition) -> Explained:
    """The condition in words, with the name of each value in its place."""
    return Explained(
        code=condition.code,
        title=condition.title,
        text=named(condition.text),
        action=named(condition.action),
        severity=condition.severity.name.lower(),
        exit_code=None if condition.severity is Severity.INFO else condition.exit_code,
    )


def _find(given: str) -> Condition:
    """The condition of that code, also where it is given as the log has it: in brackets."""
    code = given.strip("[]").upper()
    if code not in TABLE:
        raise UsageError(NO_SUCH_CODE(code=given, near=max(TABLE, key=lambda each: _likeness(each, code))))
    return TABLE[code]


def _likeness(known: str, given: str) -> tuple[float, bool]:
    """How alike two codes are; where that is a draw the same area counts."""
    return SequenceMatcher(None, known, given).ratio(), known[:_AREA] == given[:_AREA]


def _lines(found: Explained) -> list[str]:
    code = found.exit_code
    ends = [] if code is None else [f"exit code   {code} ({ExitCode(code).name.lower()})"]
    return [
        f"{found.code}      {found.title}",
        f"what is so  {found.text}",
        f"what to do  {found.action or 'nothing'}",
        f"severity    {found.severity}",
        *ends,
    ]
