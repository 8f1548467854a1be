# SPDX-License-Identifier: Apache-2.0
"""Aligned lines for a person at a terminal: a label, and what is so, wrapped below itself.

Rule: in a pipe nothing is wrapped, so that a line can be searched for.
"""

import shutil
import sys
import textwrap
from typing import Final, NamedTuple

LABEL: Final = 12
"""Columns of a label, with what separates it from the text."""

NARROWEST: Final = 40


class Row(NamedTuple):
    """A line before it is laid out; ``indent`` is 0 for a heading, 2 for what belongs to it."""

    label: str
    text: str
    indent: int = 0


def lines(rows: list[Row], width: int | None) -> list[str]:
    """The rows as lines of at most so many columns; None: as long as they are."""
    return [line for row in rows for line in _wrapped(row, width)]


def screen_width() -> int | None:
    """Columns of the terminal, None where standard output is none."""
    return max(NARROWEST, shutil.get_terminal_size().columns) if sys.stdout.isatty() else None


def _wrapped(row: Row, width: int | None) -> list[str]:
    head = f"{' ' * row.indent}{row.label} ".ljust(LABEL)  # a site's name may be longer
    if not row.text:
        return [head.rstrip()]
    if width is None:
        return [head + row.text]
    return textwrap.wrap(
        row.text,
        width,
        initial_indent=head,
        subsequent_indent=" " * LABEL,
        break_on_hyphens=False,
    )
