# SPDX-License-Identifier: Apache-2.0
"""What several ``fedagent`` commands share: their options, and where the settings are.

Rule: an option means the same in every command.
"""

import argparse
from pathlib import Path
from typing import Final

CONFIG: Final = Path("/etc/fedagent/fedagent.toml")


def add_config(parser: argparse.ArgumentParser) -> None:
    """``--config``: the site's settings."""
    parser.add_argument(
        "--config", type=Path, default=CONFIG, metavar="FILE", help="settings file (default: %(default)s)"
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """``--json``: the answer for programs."""
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
