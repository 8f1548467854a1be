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
    """The lines as they are."""
    sys.stdout.writelines(f"{line}\n" for line in lines)


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
