# SPDX-License-Identifier: Apache-2.0
"""``fedagent why``: why training runs or does not run, in one answer.

Rule: the same words as the journal's.
"""

import argparse

from fedagent.cli import options
from fedagent.cli.output import local_time, print_json, print_lines
from fedagent.cli.status import fetch


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``fedagent why``."""
    options.add_config(parser)
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Prints the verdict and what each study waits for.

    Raises:
        UnavailableError: the daemon is not running.
    """
    status = fetch(arguments.config)
    if arguments.json:
        print_json(
            {
                "verdict": status.verdict,
                "studies": {each.study: each.note or each.phase for each in status.studies},
            }
        )
        return 0
    verdict = status.verdict
    print_lines(
        f"{'training is allowed' if verdict.go else f'no training: {verdict.text}'} (since {local_time(verdict.since)})"
    )
    if verdict.signal and verdict.value is not None and verdict.threshold is not None:
        print_lines(f"  signal {verdict.signal}: {verdict.value:g}, threshold {verdict.threshold:g}")
    print_lines(
        *(
            f"study {each.study}: {each.phase}" + (f"; {each.note}" if each.note else "")
            for each in status.studies
        )
    )
    return 0
