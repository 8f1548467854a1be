# SPDX-License-Identifier: Apache-2.0
"""``fedaggregator run``: run the aggregator until SIGTERM; systemd starts it so.

Rule: holds the state's lock for as long as it runs.
"""

import argparse
import asyncio
import os
from typing import Final

from fedagent.aggregator.app import Aggregator
from fedagent.aggregator.lock import locked
from fedagent.aggregator.settings import AggregatorSettings
from fedagent.cli import aggregator_options as options
from fedagent.journal import log_to_stderr

COMMAND_S: Final = 3.0
"""How long a command may take that holds the state's lock while no daemon runs."""


def add_commands(commands: options.Commands) -> None:
    """Adds the command."""
    options.command(commands, "run", "run the aggregator (systemd does this)", run)


def run(arguments: argparse.Namespace) -> int:
    """Serves; gives 0 after an orderly end."""
    log_to_stderr()
    settings = options.settings(arguments)
    os.umask(0o077)
    with locked(settings.state, within_s=COMMAND_S):
        asyncio.run(_serve(settings))
    return 0


async def _serve(settings: AggregatorSettings) -> None:
    await Aggregator(settings).run()
