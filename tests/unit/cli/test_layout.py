# SPDX-License-Identifier: Apache-2.0
"""Aligned lines: in a pipe as long as they are, on a terminal wrapped below themselves."""

import os
import shutil
import sys

import pytest

from fedagent.cli import layout
from fedagent.cli.layout import NARROWEST, Row, lines

ROWS = [
    Row("study", "heart-1"),
    Row("", ""),
    Row("state", "training for 12 min, since 15:06:40", 2),
    Row("waits for", "x" * 50 + " y", 2),
]


def test_in_a_pipe_nothing_is_wrapped() -> None:
    assert lines(ROWS, None) == [
        "study       heart-1",
        "",
        "  state     training for 12 min, since 15:06:40",
        "  waits for " + "x" * 50 + " y",
    ]


def test_on_a_terminal_no_line_is_wider_and_none_loses_a_letter() -> None:
    made = lines(ROWS, NARROWEST)
    assert max(map(len, made)) <= NARROWEST
    assert made[2:4] == ["  state     training for 12 min, since", "            15:06:40"]
    assert "".join(made[4:]).replace(" ", "") == "waitsfor" + "x" * 50 + "y"


def test_a_pipe_has_no_width_and_a_terminal_at_least_a_narrow_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert layout.screen_width() is None
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((20, 24)))
    assert layout.screen_width() == NARROWEST
