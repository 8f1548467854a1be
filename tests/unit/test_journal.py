# SPDX-License-Identifier: Apache-2.0
"""How a record becomes a line: for journald, and for a person who runs the program by hand."""

import io
import logging
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedagent import journal
from fedagent.conditions.catalog import message_id
from fedagent.conditions.site import SETTINGS_READ
from fedagent.journal import JournalFormatter, JournalHandler, tell


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


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[socket.socket]:
    """The socket at which the journal would listen."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "journal"))
        listener.settimeout(5.0)
        yield listener


@pytest.fixture
def log(tmp_path: Path) -> Iterator[tuple[logging.Logger, io.StringIO]]:
    """A logger that writes into the journal, and the stream that it has besides."""
    stream = io.StringIO()
    handler = JournalHandler(stream, JournalFormatter(journal=True), str(tmp_path / "journal"))
    logger = logging.getLogger("fedagent.test-of-the-journal")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield logger, stream
    logger.removeHandler(handler)
    handler.close()


def fields(datagram: bytes) -> dict[str, str]:
    found = {}
    while datagram:
        name, _, rest = datagram.partition(b"\n")
        length = int.from_bytes(rest[:8], "little")
        found[name.decode()] = rest[8 : 8 + length].decode()
        assert rest[8 + length : 9 + length] == b"\n"
        datagram = rest[9 + length :]
    return found


def test_a_condition_has_its_fields_in_the_journal(
    journald: socket.socket, log: tuple[logging.Logger, io.StringIO]
) -> None:
    tell(log[0], SETTINGS_READ(), study="heart", round=7, reason=None)
    found = fields(journald.recv(10_000))
    assert found["MESSAGE"] == "the settings were read anew"
    assert found["PRIORITY"] == "6"
    assert (found["FEDAGENT_STUDY"], found["FEDAGENT_ROUND"]) == ("heart", "7")
    assert found["FEDAGENT_CODE"] == SETTINGS_READ.code
    assert found["MESSAGE_ID"] == message_id(SETTINGS_READ.code)
    assert "FEDAGENT_REASON" not in found
    assert found["CODE_FILE"] == __file__
    assert log[1].getvalue() == ""


def test_no_value_can_begin_a_field_of_its_own(
    journald: socket.socket, log: tuple[logging.Logger, io.StringIO]
) -> None:
    tell(log[0], SETTINGS_READ(), reason="x\nPRIORITY=0\nMESSAGE_ID=0")
    found = fields(journald.recv(10_000))
    assert found["FEDAGENT_REASON"] == "x\nPRIORITY=0\nMESSAGE_ID=0"
    assert found["PRIORITY"] == "6"


@pytest.mark.parametrize(
    "text", ["short", "too long for a datagram " * 20_000], ids=["nobody-there", "too-long"]
)
def test_what_the_journal_does_not_take_is_on_the_stream(
    tmp_path: Path, log: tuple[logging.Logger, io.StringIO], text: str, request: pytest.FixtureRequest
) -> None:
    if text != "short":
        request.getfixturevalue("journald")
    log[0].warning("%s", text)
    assert log[1].getvalue() == f"<4>{text}\n"


def test_the_journal_is_used_only_where_standard_error_leads_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "stream").open("w") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setattr(sys, "stderr", stream)
        for inode, native in ((status.st_ino, True), (status.st_ino + 1, False)):
            monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{inode}")
            handler = journal._handler("trainer")
            assert isinstance(handler, JournalHandler) is native
            handler.close()


def test_without_sockets_the_priority_stands_before_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> socket.socket:
        raise OSError("Address family not supported by protocol")

    with (tmp_path / "stream").open("w") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr(socket, "socket", refused)
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        handler = journal._handler("trainer")
        handler.emit(record(logging.INFO))
    assert (tmp_path / "stream").read_text() == "<6>trainer: round 3 is open\n"
