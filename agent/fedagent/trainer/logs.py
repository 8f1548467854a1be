# SPDX-License-Identifier: Apache-2.0
"""Log lines on standard error with the journal's priority in front (sd-daemon(3)).

Rule: one line a state change; never a payload, a key, a file's name or a patient's value.
"""

import logging
from typing import Final

from typing_extensions import override

_PRIORITIES: Final = {
    logging.DEBUG: 7,
    logging.INFO: 6,
    logging.WARNING: 4,
    logging.ERROR: 3,
    logging.CRITICAL: 2,
}


class PriorityFormatter(logging.Formatter):
    """``<6>text``: all that a program without sockets can tell the journal."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        return f"<{_PRIORITIES.get(record.levelno, 6)}>{super().format(record)}"


def log_to_stderr() -> None:
    """Everything from INFO up goes to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(PriorityFormatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
