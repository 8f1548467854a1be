# SPDX-License-Identifier: Apache-2.0
import json
import re

import pytest

from fedagent.cli.output import local_time, print_json, print_lines, size, tell_lines
from fedagent.journal import plain
from fedagent.wire.messages import MetricValue


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1_500, "1.5 kB"),
        (999_900, "999.9 kB"),
        (1_000_000, "1.0 MB"),
        (2_500_000_000, "2.5 GB"),
        (4_200_000_000_000, "4200.0 GB"),
    ],
)
def test_bytes_are_shown_in_decimal_units(count: int, text: str) -> None:
    assert size(count) == text


def test_times_are_the_machine_s_own() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", local_time(1_750_000_000.0))


def test_values_are_printed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"metric": MetricValue(name="auc", value=0.875, count=61)})
    assert json.loads(capsys.readouterr().out) == {"metric": {"name": "auc", "value": 0.875, "count": 61}}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("Ältere Patienten, β-Blocker", "Ältere Patienten, β-Blocker", id="any language"),
        pytest.param("good\x1b[2K\rdigest 00", "good\ufffd[2K\ufffddigest 00", id="an escape"),
        pytest.param("one\nrounds 1", "one\ufffdrounds 1", id="a second line"),
        pytest.param("a\u202eb", "a\ufffdb", id="right to left"),
    ],
)
def test_what_comes_from_afar_cannot_change_what_is_shown(
    capsys: pytest.CaptureFixture[str], text: str, shown: str
) -> None:
    assert plain(text) == shown
    print_lines(text, "next")
    tell_lines(text)
    told = capsys.readouterr()
    assert (told.out, told.err) == (f"{shown}\nnext\n", f"{shown}\n")


def test_json_hides_nothing_and_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    text = "\x1b[2K \x9b2K \x7f \u202e \u2028 \U000e0001 \n Ältere"
    print_json({"text": text})
    printed = capsys.readouterr().out
    assert all(letter.isprintable() for letter in printed.replace("\n", ""))
    assert json.loads(printed) == {"text": text}
