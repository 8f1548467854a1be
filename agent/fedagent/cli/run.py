# SPDX-License-Identifier: Apache-2.0
"""``fedagent run``: run the site daemon until SIGTERM; systemd starts it so.

Rule: imports only what the daemon needs.
"""

import argparse
import asyncio

from fedagent.cli import options
from fedagent.journal import log_to_stderr
from fedagent.site.app import Daemon
from fedagent.storage.settings import read_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``fedagent run``."""
    options.add_config(parser)


def run(arguments: argparse.Namespace) -> int:
    """Serves; gives 0 after an orderly end.

    Raises:
        ConfigurationError: the settings or the certificates are wrong.
        StorageError: the state cannot be opened.
    """
    log_to_stderr()
    settings = read_settings(arguments.config)
    asyncio.run(Daemon(settings, arguments.config.absolute()).run())
    return 0
