# SPDX-License-Identifier: Apache-2.0
"""How commands print: values as JSON for programs, times and sizes in words for people."""

import sys
from datetime import datetime
from typing import Final

import msgspec

_KILO: Final = 1000


def print_json(value: object) -> None:
    """The value as indented JSON."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def print_lines(*lines: str) -> None:
    """The lines; what would move a terminal's cursor or colour it becomes visible.

    Studies come from afar, and root approves what it reads here.
    """
    sys.stdout.writelines(f"{plain(line)}\n" for line in lines)


def plain(text: str) -> str:
    """The text on one line, with a mark for each character that is not printable."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def local_time(wall: float) -> str:
    """A Unix time in the machine's own zone."""
    return datetime.fromtimestamp(wall).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def size(count: int) -> str:
    """Bytes in the largest decimal unit that keeps a digit before the point."""
    if count < _KILO:
        return f"{count} B"
    value = float(count)
    for unit in ("kB", "MB"):
        value /= _KILO
        if value < _KILO:
            return f"{value:.1f} {unit}"
    return f"{value / _KILO:.1f} GB"
