# SPDX-License-Identifier: Apache-2.0
"""``fedagent``: finds the command, runs it, turns an error into one line and an exit code.

Rule: a command's module is imported only when it is asked for, so that the daemon holds nothing it does not use.
"""

import argparse
import difflib
import importlib
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, NoReturn

from typing_extensions import override

from fedagent import VERSION
from fedagent.cli.output import tell_lines
from fedagent.conditions.commands import FAULT, NO_COMMAND, NOT_A_COMMAND, NOT_A_COMMAND_NEAR, NOT_UNDERSTOOD
from fedagent.conditions.condition import ExitCode
from fedagent.errors import FedagentError, UsageError
from fedagent.journal import coded


class Command(NamedTuple):
    """A command: the module that has ``add_arguments(parser)`` and ``run(arguments)``, and its line in ``--help``."""

    module: str
    summary: str


COMMANDS: Final = {
    "run": Command("fedagent.cli.run", "run the site daemon (systemd does this)"),
    "enroll": Command(
        "fedagent.cli.enroll", "join: make this site's key and request, install its certificate"
    ),
    "status": Command("fedagent.cli.status", "how the site is, what it does, and why not"),
    "why": Command("fedagent.cli.why", "why training runs or does not run, in one answer"),
    "study": Command("fedagent.cli.study", "list, show, approve and revoke studies"),
    "dataset": Command("fedagent.cli.dataset", "list, add, check and snapshot local datasets"),
    "pause": Command("fedagent.cli.pause", "stop training now, for a time or until resumed"),
    "resume": Command("fedagent.cli.resume", "let training go on"),
    "config": Command("fedagent.cli.config", "check the settings, show the effective ones"),
    "explain": Command("fedagent.cli.explain", "what a code such as FA1001 means, and what to do"),
    "demo": Command("fedagent.cli.demo", "the whole idea on this machine: four hospitals train one model"),
    "version": Command("fedagent.cli.version", "print the version"),
}


EXIT_CODES: Final = "exit codes: " + ", ".join(f"{code} {code.name.lower()}" for code in ExitCode)
"""The last line of ``--help``."""


class Parser(argparse.ArgumentParser):
    """argparse, with usage errors as ours."""

    @override
    def error(self, message: str) -> NoReturn:
        raise UsageError(NOT_UNDERSTOOD(reason=message, program=self.prog))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and gives its exit code (``fedagent.errors``; 0 is success)."""
    words = list(sys.argv[1:] if argv is None else argv)
    return guarded("fedagent", lambda: _dispatch(words))


def guarded(program: str, act: Callable[[], int]) -> int:
    """Acts for a program of ours; whatever goes wrong is one line on standard error and an exit code."""
    try:
        code = act()
        sys.stdout.flush()
    except FedagentError as error:
        tell_lines(f"{program}: {coded(error.said)}")
        return error.exit_code
    except BrokenPipeError:  # ``fedagent status | head``: whoever read has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    except Exception:
        logging.getLogger(program).exception("%s", coded(FAULT(program=program)))
        return ExitCode.FAILED
    return code


def _dispatch(words: list[str]) -> int:
    parser = Parser(
        prog="fedagent",
        usage="fedagent COMMAND [OPTION ...]",
        description="Federated learning as an ordinary Linux service.",
        epilog=_epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fedagent {VERSION}")
    parser.add_argument("command", nargs="?", metavar="COMMAND", help="one of those below")
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    chosen = parser.parse_args(words)
    found = _find(chosen.command)
    module = importlib.import_module(found.module)
    command = Parser(prog=f"fedagent {chosen.command}", description=found.summary)
    module.add_arguments(command)
    code: int = module.run(command.parse_args(chosen.rest))
    return code


def _find(name: str | None) -> Command:
    if name is None:
        raise UsageError(NO_COMMAND(program="fedagent"))
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        raise UsageError(NOT_A_COMMAND_NEAR(name=name, near=near[0]) if near else NOT_A_COMMAND(name=name))
    return COMMANDS[name]


def _epilog() -> str:
    lines = "\n".join(f"  {name:<9} {command.summary}" for name, command in COMMANDS.items())
    return f"commands:\n{lines}\n\n{EXIT_CODES}"


if __name__ == "__main__":
    sys.exit(main())
