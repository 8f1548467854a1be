# SPDX-License-Identifier: Apache-2.0
"""How a record becomes a line: for journald, and for a person who runs the program by hand."""

import logging

import pytest

from fedagent.journal import JournalFormatter


def record(level: int) -> logging.LogRecord:
    return logging.LogRecord("fedagent", level, __file__, 1, "round %d is open", (3,), None)


@pytest.mark.parametrize(
    ("level", "priority"),
    [(logging.DEBUG, 7), (logging.INFO, 6), (logging.WARNING, 4), (logging.ERROR, 3), (logging.CRITICAL, 2)],
)
def test_journald_reads_the_priority(level: int, priority: int) -> None:
    assert JournalFormatter(journal=True).format(record(level)) == f"<{priority}>round 3 is open"


def test_a_person_reads_time_and_level() -> None:
    line = JournalFormatter(journal=False).format(record(logging.WARNING))
    assert line.endswith(" WARNING round 3 is open")
    assert not line.startswith("<")


def test_who_shares_the_stream_gives_its_name() -> None:
    assert JournalFormatter(journal=True, speaker="trainer").format(record(logging.INFO)) == (
        "<6>trainer: round 3 is open"
    )
    assert (
        JournalFormatter(journal=False, speaker="trainer")
        .format(record(logging.INFO))
        .endswith(" INFO    trainer: round 3 is open")
    )


def test_what_a_peer_said_cannot_begin_a_line_of_its_own() -> None:
    said = logging.LogRecord(
        "fedagent", logging.WARNING, __file__, 1, "refused: %s", ("x\n<6>all is well\x1b[2K",), None
    )
    assert JournalFormatter(journal=True).format(said) == "<4>refused: x\ufffd<6>all is well\ufffd[2K"
