# SPDX-License-Identifier: Apache-2.0
"""``--watch``: looks again and again, on a terminal in place, in a pipe where something changed.

Rule: a block is written in one piece, so nothing flickers, and the cursor always stands below the last one: whatever ends the
command, the terminal is as it was. A daemon that is down is a thing to see, not an end.
"""

import argparse
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

import msgspec

from fedagent.cli import layout
from fedagent.cli.layout import Row
from fedagent.cli.output import json_line, local_time, print_lines
from fedagent.cli.times import since
from fedagent.conditions import commands as conditions
from fedagent.errors import UnavailableError, UsageError
from fedagent.journal import coded, plain

EVERY_S: Final = 2.0
SHORTEST_S: Final = 0.1


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """One look.

    Attributes:
        value: for ``--json``.
        rows: for people.
        facts: what does not change by itself: another block is printed where these differ.
    """

    value: object
    rows: list[Row]
    facts: object


class Down(msgspec.Struct, frozen=True, kw_only=True):
    """What ``--json --watch`` prints while nobody answers."""

    at: float
    code: str
    error: str


Pace = Callable[[float], bool]
"""Waits so many seconds; False ends the watch."""


def add_watch(parser: argparse.ArgumentParser) -> None:
    """``--watch``: look again."""
    parser.add_argument(
        "--watch", nargs="?", type=_seconds, const=EVERY_S, metavar="SECONDS",
        help=f"look again every so many seconds (default: {EVERY_S:g}) until Ctrl-C; in a pipe print what changed",
    )  # fmt: skip


def _seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not SHORTEST_S <= found < threading.TIMEOUT_MAX:
        raise UsageError(conditions.BAD_WATCH(given=text, least=SHORTEST_S))
    return found


def watch(
    look: Callable[[], Look],
    every_s: float,
    *,
    as_json: bool,
    now: Callable[[], float],
    pace: Pace | None = None,
) -> int:
    """Looks and shows until Ctrl-C, which is how it ends: 0.

    Args:
        now: Unix seconds, for the time of an outage.
        pace: of tests.
    """
    wait = pace or _wait
    looks = _looks(look, now)
    shown = _Screen() if not as_json and _redraws() else _Changes(now, as_json=as_json)
    with suppress(KeyboardInterrupt):
        for found in looks:
            shown.show(found)
            if not wait(every_s):
                break
    shown.close()
    return 0


def _wait(seconds: float) -> bool:
    threading.Event().wait(seconds)
    return True


def _redraws() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def _looks(look: Callable[[], Look], now: Callable[[], float]) -> Iterable[Look]:
    """Looks for ever; while nobody answers, at that and since when."""
    down_since = None
    while True:
        try:
            found = look()
            down_since = None
        except UnavailableError as error:
            at = now()
            down_since = down_since or at
            text = coded(error.said)
            rows = [Row("down", text), Row("", f"{since(down_since, at)}; looking again")]
            found = Look(
                value=Down(at=at, code=error.said.code, error=error.said.text), rows=rows, facts=text
            )
        yield found


class _Changes:
    """In a pipe: a block, or a line of JSON, wherever something changed."""

    def __init__(self, now: Callable[[], float], *, as_json: bool) -> None:
        self._now, self._json = now, as_json
        self._facts: object = None

    def show(self, found: Look) -> None:
        """Prints it, if it is news."""
        if found.facts == self._facts:
            return
        self._facts = found.facts
        if self._json:
            sys.stdout.write(json_line(found.value) + "\n")
        else:
            print_lines(f"--- {local_time(self._now())}", *layout.lines(found.rows, layout.screen_width()))
        sys.stdout.flush()

    def close(self) -> None:
        """Nothing is left to do."""


class _Screen:
    """On a terminal: the block over the one before."""

    def __init__(self) -> None:
        self._drawn = 0

    def show(self, found: Look) -> None:
        """Draws it."""
        size = shutil.get_terminal_size()
        block = [plain(line)[: size.columns - 1] for line in layout.lines(found.rows, size.columns - 1)]
        if len(block) >= size.lines:  # the cursor cannot go up beyond the screen
            block = [
                *block[: size.lines - 2],
                f"({len(block) - size.lines + 2} more lines: make the window larger)",
            ]
        up = f"\x1b[{self._drawn}F" if self._drawn else ""
        sys.stdout.write(up + "".join(f"{line}\x1b[K\n" for line in block) + "\x1b[J")
        sys.stdout.flush()
        self._drawn = len(block)

    def close(self) -> None:
        """The prompt gets a line of its own: the terminal has written ^C on this one."""
        sys.stdout.write("\n")
