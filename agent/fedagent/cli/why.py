# SPDX-License-Identifier: Apache-2.0
"""``fedagent why``: why training runs or does not run, in one answer.

Rule: the same words as the journal's.
"""

import argparse

from fedagent.cli import options
from fedagent.cli.output import print_json, print_lines
from fedagent.cli.site_text import verdict_text, waits_text
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
                "studies": {each.study: each.waits_for or each.phase for each in status.studies},
            }
        )
        return 0
    verdict = status.verdict
    print_lines(f"training is {verdict_text(verdict, status.at)}")
    if verdict.signal and verdict.value is not None and verdict.threshold is not None:
        print_lines(f"  signal {verdict.signal}: {verdict.value:g}, threshold {verdict.threshold:g}")
    print_lines(
        *(
            f"study {each.study}: {each.phase}"
            + (f"; waits for {waits_text(each, status.at)}" if each.waits_for else "")
            for each in status.studies
        )
    )
    return 0
