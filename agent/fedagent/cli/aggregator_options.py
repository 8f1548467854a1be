# SPDX-License-Identifier: Apache-2.0
"""What several ``fedaggregator`` commands share: their options, the settings, the store, a password.

Rule: an option means the same in every command.
"""

import argparse
import getpass
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from fedagent.aggregator.schema import STEPS
from fedagent.aggregator.settings import DEFAULT_PATH, AggregatorSettings, read_aggregator_settings
from fedagent.aggregator.store import Store
from fedagent.conditions.commands import (
    NO_TERMINAL,
    NOTHING_CREATED,
    OPTION_FILE,
    PASSWORD_NOT_TEXT,
    PASSWORDS_DIFFER,
)
from fedagent.conditions.files import EARLIER_STATE
from fedagent.errors import UnavailableError, UsageError
from fedagent.storage.database import state_version, version_after

Command = Callable[[argparse.Namespace], int]


Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001
"""What ``ArgumentParser.add_subparsers`` gives; argparse has no public name for it."""


def command(commands: Commands, name: str, summary: str, run: Command) -> argparse.ArgumentParser:
    """A command with its ``--config``."""
    parser = commands.add_parser(name, help=summary, description=summary)
    parser.set_defaults(command=run)
    parser.add_argument(
        "--config",
        type=Path,
        default=DEFAULT_PATH,
        metavar="FILE",
        help="settings file (default: %(default)s)",
    )
    return parser


def group(commands: Commands, name: str, summary: str) -> Commands:
    """A command that has commands of its own."""
    parser = commands.add_parser(name, help=summary, description=summary)
    return parser.add_subparsers(metavar="COMMAND", required=True, parser_class=type(parser))


def add_json(parser: argparse.ArgumentParser) -> None:
    """``--json``: the report for programs."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_password(parser: argparse.ArgumentParser) -> None:
    """``--password-file``: of the authority's key."""
    parser.add_argument(
        "--password-file", type=Path, metavar="FILE", help="file with the authority's password (default: ask)"
    )


def password(arguments: argparse.Namespace, *, twice: bool) -> bytes:
    """The authority's password, from its file or the terminal.

    Raises:
        UsageError: neither is there, or they differ.
    """
    if arguments.password_file is not None:
        try:
            text: str = arguments.password_file.read_text(encoding="utf-8")
        except OSError as error:
            said = OPTION_FILE(option="--password-file", path=arguments.password_file, reason=error.strerror)
            raise UsageError(said) from error
        except UnicodeDecodeError as error:
            raise UsageError(PASSWORD_NOT_TEXT(path=arguments.password_file)) from error
        return text.rstrip("\r\n").encode()
    if not sys.stdin.isatty():
        raise UsageError(NO_TERMINAL())
    asked = getpass.getpass("Password of the authority's key: ")
    if twice and getpass.getpass("Once more: ") != asked:
        raise UsageError(PASSWORDS_DIFFER())
    return asked.encode()


def settings(arguments: argparse.Namespace) -> AggregatorSettings:
    """The settings in ``--config``."""
    return read_aggregator_settings(arguments.config)


@contextmanager
def opened_store(found: AggregatorSettings) -> Iterator[Store]:
    """The store, for reading; the daemon may run meanwhile.

    Raises:
        UnavailableError: there is none yet, or it is still an earlier version's.
    """
    path = found.store
    if not path.exists():
        raise UnavailableError(NOTHING_CREATED(path=path))
    version = state_version(path)
    if version < version_after(STEPS):  # the daemon that runs is still the earlier one
        raise UnavailableError(EARLIER_STATE(path=path, found=version, known=version_after(STEPS)))
    store = Store(path)
    try:
        yield store
    finally:
        store.close()
