# SPDX-License-Identifier: Apache-2.0
"""How commands print: values as JSON for programs, times and sizes in words for people.

Rule: what would move a terminal's cursor or colour it becomes visible, in text and in JSON: studies, refusals and metrics
come from afar, and root approves what it reads here.
"""

import sys
from datetime import datetime
from typing import Final

import msgspec

from fedagent.journal import plain

_KILO: Final = 1000


def print_json(value: object) -> None:
    """The value as indented JSON; a string's characters that are not printable stand there as escapes."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    sys.stdout.write("".join(map(_json_letter, text)) + "\n")


def json_line(value: object) -> str:
    """The value as JSON on one line, as ``print_json`` has it otherwise."""
    return "".join(map(_json_letter, msgspec.json.encode(value).decode()))


def print_lines(*lines: str) -> None:
    """The lines, each on one."""
    sys.stdout.writelines(f"{plain(line)}\n" for line in lines)


def tell_lines(*lines: str) -> None:
    """The lines on standard error: about the result, where standard output may be a file."""
    sys.stderr.writelines(f"{plain(line)}\n" for line in lines)


def _json_letter(letter: str) -> str:
    if letter.isprintable() or letter == "\n":  # between two values; within a string it is escaped already
        return letter
    code = letter.encode("utf-16-be")
    return "".join(f"\\u{code[at : at + 2].hex()}" for at in range(0, len(code), 2))


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
