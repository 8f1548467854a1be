# SPDX-License-Identifier: Apache-2.0
"""``--watch``: in a pipe what changed, on a terminal in place, ended by Ctrl-C; a daemon that is down is shown."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import monotonic

import msgspec
import pytest

from fedagent.cli.layout import Row
from fedagent.cli.main import main
from fedagent.cli.watch import Down, Look, watch
from fedagent.conditions.condition import Said
from fedagent.errors import UnavailableError
from tests.fakes.daemon import FakeDaemon
from tests.fakes.scenes import at, declined, training

NOW = 1_750_075_200.0  # 2025-06-16 12:00:00 UTC
LIMIT_S = 30.0
DOWN = UnavailableError(Said("FA4001", "fedagent is not running"))


class Script:
    """What the looks give, one after the other; the clock goes on two seconds with each."""

    def __init__(self, *found: str | UnavailableError) -> None:
        self._found = iter(found)
        self._left = len(found)
        self.waited: list[float] = []

    def look(self) -> Look:
        found = next(self._found)
        if isinstance(found, UnavailableError):
            raise found
        return Look(value={"state": found}, rows=[Row("state", found)], facts=found)

    def now(self) -> float:
        return NOW + sum(self.waited)

    def pace(self, seconds: float) -> bool:
        self.waited.append(seconds)
        return len(self.waited) < self._left

    def play(self, *, as_json: bool = False) -> int:
        return watch(self.look, 2.0, as_json=as_json, now=self.now, pace=self.pace)


def test_in_a_pipe_a_block_is_printed_where_something_changed(capsys: pytest.CaptureFixture[str]) -> None:
    script = Script("training", "training", "declined")
    assert script.play() == 0
    assert script.waited == [2.0, 2.0, 2.0]
    assert capsys.readouterr().out.splitlines() == [
        "--- 2025-06-16 12:00:00",
        "state       training",
        "--- 2025-06-16 12:00:04",
        "state       declined",
    ]


def test_a_daemon_that_is_down_in_between_is_shown_with_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert Script("training", DOWN, DOWN, "training", DOWN).play() == 0
    assert capsys.readouterr().out.splitlines()[2:] == [
        "--- 2025-06-16 12:00:02",
        "down        fedagent is not running [FA4001]",
        "            for 0 s, since 12:00:02; looking again",
        "--- 2025-06-16 12:00:06",
        "state       training",
        "--- 2025-06-16 12:00:08",
        "down        fedagent is not running [FA4001]",
        "            for 0 s, since 12:00:08; looking again",
    ]


def test_programs_get_a_line_of_json_where_something_changed(capsys: pytest.CaptureFixture[str]) -> None:
    assert Script("training", "training", DOWN).play(as_json=True) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert json.loads(first) == {"state": "training"}
    down = Down(at=NOW + 4.0, code="FA4001", error="fedagent is not running")
    assert msgspec.json.decode(second, type=Down) == down


def test_control_c_is_how_it_ends() -> None:
    script = Script("training", "training")

    def interrupted(seconds: float) -> bool:
        script.pace(seconds)
        raise KeyboardInterrupt

    assert watch(script.look, 2.0, as_json=False, now=script.now, pace=interrupted) == 0
    assert script.waited == [2.0]


def test_a_terminal_that_cannot_move_its_cursor_is_a_pipe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    assert Script("training").play() == 0
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize("seconds", ["0", "-1", "heart", "nan", "inf", "1e30"])
def test_how_often_is_a_number_of_seconds(
    config: Path, capsys: pytest.CaptureFixture[str], seconds: str
) -> None:
    assert main(["status", "--config", str(config), f"--watch={seconds}"]) == 64
    assert f"--watch {seconds}: how many seconds; write a number" in capsys.readouterr().err


# --- a real terminal ----------------------------------------------------------------------------------------------------


class Terminal:
    """A command on a pseudo-terminal of 80 columns.

    Attributes:
        seen: all that it wrote.
    """

    def __init__(self, words: Sequence[str], *, rows: int = 24) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, 80, 0, 0))
        self.settings = termios.tcgetattr(slave)
        environment = {**os.environ, "TERM": "xterm", "TZ": "UTC"}
        environment.pop("COLUMNS", None)
        command = ["setsid", "--ctty", *words]  # its controlling terminal: what Ctrl-C needs
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment)
        self._slave = slave
        self.seen = ""

    def until(self, text: str, *, times: int = 1) -> None:
        end = monotonic() + LIMIT_S
        while self.seen.count(text) < times:
            ready, _, _ = select.select([self._master], [], [], max(0.0, end - monotonic()))
            assert ready, f"no {text!r} in {self.seen!r}"
            self.seen += os.read(self._master, 65_536).decode()

    def press(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def end(self) -> int:
        code = self.process.wait(LIMIT_S)
        while select.select([self._master], [], [], 0.0)[0]:
            self.seen += os.read(self._master, 65_536).decode()
        assert termios.tcgetattr(self._slave) == self.settings
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(LIMIT_S)
        os.close(self._master)
        os.close(self._slave)


Opened = Callable[..., Terminal]


@pytest.fixture
def terminal(config: Path) -> Iterator[Opened]:
    opened: list[Terminal] = []

    def start(**options: int) -> Terminal:
        words = [sys.executable, "-m", "fedagent.cli.main", "status", "--watch=0.1", "--config", str(config)]
        opened.append(Terminal(words, **options))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


def screen(written: str, rows: int = 24) -> list[str]:
    """What a terminal shows after that: only what a status may write is understood."""
    lines, row = [""] * rows, 0
    for part in re.findall(r"\x1b\[\d*[FKJ]|\r?\n|\^C|[^\x1b\r\n]+", written):
        if part.endswith("F"):
            row -= int(part[2:-1])
        elif part == "\x1b[K":
            continue
        elif part == "\x1b[J":
            lines[row:] = [""] * (rows - row)
        elif part in {"\n", "\r\n"}:
            row += 1
            if row == rows:
                lines, row = [*lines[1:], ""], rows - 1
        else:
            lines[row] = part
        assert row >= 0, "the block left the screen"
    return lines


def test_a_terminal_is_redrawn_in_place_while_the_daemon_comes_and_goes(
    config: Path, terminal: Opened
) -> None:
    shown = terminal()
    shown.until("fedagent is not running")
    with FakeDaemon(config.parent / "run", training(), now=at(720)) as daemon:
        shown.until("training for 12 min")
        assert [line for line in screen(shown.seen) if "not running" in line] == []
        daemon.state = declined()
        shown.until("declined for 12 min")
        assert [line for line in screen(shown.seen) if "  state" in line] == [
            "  state     declined for 12 min, since 15:06:40"
        ]
    shown.until("fedagent is not running", times=2)
    shown.press(b"\x03")
    assert shown.end() == 0
    left = [line for line in screen(shown.seen) if line]
    assert left[0].startswith("down        fedagent is not running")
    assert not any("declined" in line for line in left)
    assert max(map(len, left)) < 80
    assert shown.seen.endswith("\n")


def test_a_window_that_is_too_low_shows_the_beginning(config: Path, terminal: Opened) -> None:
    with FakeDaemon(config.parent / "run", training(), now=at(720)):
        shown = terminal(rows=8)
        shown.until("make the window larger", times=3)
        shown.press(b"\x03")
        assert shown.end() == 0
    drawn = screen(shown.seen, rows=8)
    assert drawn[0].startswith("broker ")  # the newline after ^C moved all by one
    assert drawn[5].endswith("more lines: make the window larger)")
    assert len([line for line in drawn if "make the window larger" in line]) == 1
