# SPDX-License-Identifier: Apache-2.0
"""Log records as the journal wants them: with fields where its socket is in reach, else one line with its priority.

Rule: never a payload, a key, a data file's name or a patient's value; what a peer said cannot begin a line of its own.
Source: sd-daemon(3) has the prefix ``<N>``, systemd.journal-fields(7) the fields, JOURNAL_NATIVE_PROTOCOL of systemd's
documentation the datagrams.
"""

import logging
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TextIO

from typing_extensions import override

from fedagent.conditions.catalog import message_id
from fedagent.conditions.condition import Said, Severity
from fedagent.conditions.table import TABLE

_PRIORITY: Final = {
    logging.DEBUG: 7,
    logging.INFO: 6,
    logging.WARNING: 4,
    logging.ERROR: 3,
    logging.CRITICAL: 2,
}


JOURNAL: Final = "/run/systemd/journal/socket"

_FIELD: Final = "fedagent_"
"""Attributes of a record that begin so are fields of the journal."""


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
        text = self.text(record)
        return f"<{_PRIORITY.get(record.levelno, 6)}>{text}" if self._journal else text

    def text(self, record: logging.LogRecord) -> str:
        """The same without a priority before it."""
        return super().format(record)


class JournalHandler(logging.StreamHandler[TextIO]):
    """Writes records into the journal with their fields; to the stream where the journal does not take one."""

    def __init__(self, stream: TextIO, formatter: JournalFormatter, path: str = JOURNAL) -> None:
        """Opens no connection: each record is a datagram of its own, and the journal may be started again.

        Raises:
            OSError: this process may not have a socket.
        """
        super().__init__(stream)
        self.setFormatter(formatter)
        self._lines, self._path = formatter, path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    @override
    def emit(self, record: logging.LogRecord) -> None:
        entry = b"".join(_field(name, value) for name, value in self._fields(record))
        try:
            self._socket.sendto(entry, self._path)
        except OSError:  # too long, too many at once, or nobody there
            super().emit(record)

    @override
    def close(self) -> None:
        self._socket.close()
        super().close()

    def _fields(self, record: logging.LogRecord) -> Iterator[tuple[str, str]]:
        yield "MESSAGE", self._lines.text(record)
        yield "PRIORITY", str(_PRIORITY.get(record.levelno, 6))
        yield "SYSLOG_IDENTIFIER", Path(sys.argv[0]).name
        yield "CODE_FILE", record.pathname
        yield "CODE_LINE", str(record.lineno)
        for name, value in vars(record).items():
            if name.startswith(_FIELD) and value is not None:
                yield name.upper(), str(value)
        code = getattr(record, f"{_FIELD}code", "")
        if code:
            yield "MESSAGE_ID", message_id(code)


def _field(name: str, value: str) -> bytes:
    """A field of a datagram; its length stands before it, so that no value can begin another field."""
    data = value.encode(errors="replace")
    return name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n"


def tell(log: logging.Logger, said: Said, **fields: object) -> None:
    """One record of a condition, at its severity; the fields are what ``journalctl`` can select by.

    Raises:
        KeyError: the code stands in no table.
    """
    severity = TABLE[said.code].severity
    extra = {f"{_FIELD}{key}": value for key, value in {"code": said.code, **fields}.items()}
    log.log(severity, "%s", coded(said) if severity > Severity.INFO else said, extra=extra, stacklevel=2)


def coded(said: Said) -> str:
    """The text with its code, which ``fedagent explain`` takes."""
    return f"{said} [{said.code}]" if said.code else said.text


def plain(text: str) -> str:
    """The text on one line, with a mark for each character that is not printable."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def log_to_stderr(level: int = logging.INFO, *, speaker: str = "") -> None:
    """Every logger of this process writes to standard error, or into the journal that it leads to."""
    logging.basicConfig(level=level, handlers=[_handler(speaker)], force=True)


def _handler(speaker: str) -> logging.Handler:
    formatter = JournalFormatter(journal="JOURNAL_STREAM" in os.environ, speaker=speaker)
    if _leads_to_journal(sys.stderr, os.environ.get("JOURNAL_STREAM", "")):
        try:
            return JournalHandler(sys.stderr, formatter)
        except OSError:  # the trainer's sandbox has no sockets at all
            pass
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    return handler


def _leads_to_journal(stream: TextIO, journal: str) -> bool:
    """Whether the stream is the journal's own.

    Args:
        journal: ``device:inode`` of ``$JOURNAL_STREAM``, systemd.exec(5); it is inherited by who writes elsewhere, too.
    """
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return journal == f"{status.st_dev}:{status.st_ino}"
