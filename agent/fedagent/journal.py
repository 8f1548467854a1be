# SPDX-License-Identifier: Apache-2.0
"""Log records as the journal wants them: one line each, with the priority that journald reads from ``<N>``.

Rule: never a payload, a key, a data file's name or a patient's value; what a peer said cannot begin a line of its own.
``sd-daemon(3)`` has the prefix.
"""

import logging
import os
import sys
from typing import Final

from typing_extensions import override

from fedagent.conditions.condition import Said, Severity
from fedagent.conditions.table import TABLE

_PRIORITY: Final = {
    logging.DEBUG: 7,
    logging.INFO: 6,
    logging.WARNING: 4,
    logging.ERROR: 3,
    logging.CRITICAL: 2,
}


class JournalFormatter(logging.Formatter):
    """``<6>text`` under systemd, ``time LEVEL text`` elsewhere; a speaker's name where several share the stream."""

    def __init__(self, *, journal: bool, speaker: str = "") -> None:
        text = f"{speaker}: %(message)s" if speaker else "%(message)s"
        super().__init__(text if journal else f"%(asctime)s %(levelname)-7s {text}")
        self._journal = journal

    @override
    def formatMessage(self, record: logging.LogRecord) -> str:
        """The record without its traceback, on one line."""
        return plain(super().formatMessage(record))

    @override
    def format(self, record: logging.LogRecord) -> str:
        """The record in one line (a traceback keeps its lines)."""
        text = super().format(record)
        return f"<{_PRIORITY.get(record.levelno, 6)}>{text}" if self._journal else text


def tell(log: logging.Logger, said: Said, **fields: object) -> None:
    """One record of a condition, at its severity; the fields are what ``journalctl`` can select by.

    Raises:
        KeyError: the code stands in no table.
    """
    severity = TABLE[said.code].severity
    extra = {f"fedagent_{key}": value for key, value in {"code": said.code, **fields}.items()}
    log.log(severity, "%s", coded(said) if severity > Severity.INFO else said, extra=extra)


def coded(said: Said) -> str:
    """The text with its code, which ``fedagent explain`` takes."""
    return f"{said} [{said.code}]" if said.code else said.text


def plain(text: str) -> str:
    """The text on one line, with a mark for each character that is not printable."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def log_to_stderr(level: int = logging.INFO, *, speaker: str = "") -> None:
    """Every logger of this process writes to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JournalFormatter(journal="JOURNAL_STREAM" in os.environ, speaker=speaker))
    logging.basicConfig(level=level, handlers=[handler], force=True)
