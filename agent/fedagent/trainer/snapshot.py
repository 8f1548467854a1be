# SPDX-License-Identifier: Apache-2.0
"""The snapshot program: makes a dataset's next snapshot, checks it against a study, lists what there is.

Rule: the only program that reads a patient's row where the hospital keeps it. It runs no study's code, has no network
but the database's unix socket, and prints names and counts, never a value.
"""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from fedagent.errors import FedagentError, UsageError
from fedagent.storage.settings import read_settings
from fedagent.trainer.datasets import read_definition
from fedagent.trainer.making import Made, make_snapshot
from fedagent.trainer.staging import few

DEFAULT_CONFIG: Final = Path("/etc/fedagent/fedagent.toml")


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code of one run: 0 done, 1 the data do not fit, 64 and 78 as in ``fedagent.errors``."""
    options = _parser().parse_args(arguments)
    try:
        settings = read_settings(options.config)
        definition = read_definition(Path(settings.paths.datasets), options.name)
        made = make_snapshot(Path(settings.paths.trainer_state), definition, datetime.now(UTC))
        print(_made_json(made) if options.json else _made_text(made))  # noqa: T201
        return 0
    except FedagentError as error:
        print(f"fedagent-snapshot: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fedagent-snapshot", description="Make and check snapshots of local datasets."
    )
    parser.add_argument("name", nargs="?", help="the dataset: NAME of datasets.d/NAME.toml")
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG, help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    return parser


def _made_text(made: Made) -> str:
    record = made.record
    return f"dataset {record.dataset}: snapshot {record.digest.hex()[:12]}, {record.rows} rows of {record.note.patients} patients"


def _made_json(made: Made) -> str:
    record = made.record
    return msgspec.json.encode(
        {"dataset": record.dataset, "digest": record.digest.hex(), "rows": record.rows}
    ).decode()


if __name__ == "__main__":
    sys.exit(main())
