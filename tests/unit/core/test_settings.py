# SPDX-License-Identifier: Apache-2.0
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fedagent.core.settings import GovernorSettings, Settings, TimeWindow

FILE = Path(__file__).parents[3] / "etc" / "fedagent" / "fedagent.toml"
TEXT = FILE.read_text("utf-8")
UNCOMMENTED = re.sub(r"^#(?=\w)", "", TEXT, flags=re.MULTILINE)
NO_DEFAULT = {"site.name", "broker.host"}
LEAST = {"site": {"name": "clinic-a"}, "broker": {"host": "broker"}}


def leaves(table: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def defaults() -> dict[str, Any]:
    return dict(leaves(msgspec.to_builtins(msgspec.convert(LEAST, Settings))))


def test_the_file_parses_with_every_setting_taken_out_of_its_comment() -> None:
    settings = msgspec.convert(tomllib.loads(UNCOMMENTED), Settings, strict=True)
    assert settings.site.name == "clinic-a"


def test_the_file_holds_every_setting_with_its_default_and_nothing_else() -> None:
    written = dict(leaves(tomllib.loads(UNCOMMENTED)))
    expected = {key: list(value) if isinstance(value, tuple) else value for key, value in defaults().items()}
    assert {key: value for key, value in written.items() if key not in NO_DEFAULT} == {
        key: value for key, value in expected.items() if key not in NO_DEFAULT
    }
    assert written.keys() >= NO_DEFAULT


def test_the_file_as_it_is_installed_sets_nothing() -> None:
    assert dict(leaves(tomllib.loads(TEXT))) == {}


def test_every_setting_stands_below_its_explanation() -> None:
    lines = TEXT.splitlines()
    for number, line in enumerate(lines):
        if re.match(r"#\w", line):
            above = lines[number - 1]
            assert above.startswith("# ") or re.match(r"#\w", above), line


def test_the_example_of_the_windows_shows_all_of_a_window() -> None:
    (example,) = re.findall(r"^# Example: (.*)$", TEXT, flags=re.MULTILINE)
    shown = tomllib.loads(example)
    assert len(msgspec.convert(shown, GovernorSettings).windows) == 2
    assert {key for window in shown["windows"] for key in window} == set(TimeWindow.__struct_encode_fields__)


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        pytest.param("cpu_leave_ratio", 1.5, "<= 1.0", id="more than all CPUs"),
        pytest.param("cpu_samples", 0, ">= 1", id="no sample"),
        pytest.param("memory_available_mib", -1, ">= 0", id="negative memory"),
        pytest.param("resume_after_s", -0.5, ">= 0.0", id="negative time"),
        pytest.param("facts_expire_s", 0.0, "> 0.0", id="facts that never hold"),
        pytest.param("cpu_enter_ratio", 0.3, "cpu_enter_ratio 0.3 is above", id="enters where it leaves"),
        pytest.param("windows", [{"from": "24:00"}], "matching regex", id="no such hour"),
        pytest.param("windows", [{"from": "12:00\n"}], "matching regex", id="an hour and a line"),
        pytest.param("windows", [{"days": ["monday"]}], "'monday'", id="no such day"),
        pytest.param("cpu_leaf_ratio", 0.5, "unknown field `cpu_leaf_ratio`", id="no such key"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_path(key: str, value: object, problem: str) -> None:
    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.convert({**LEAST, "governor": {key: value}}, Settings)
    assert problem in str(refused.value)
    assert "$.governor" in str(refused.value)


@pytest.mark.parametrize("missing", [("site", "name"), ("broker", "host")])
def test_what_has_no_default_must_be_set(missing: tuple[str, str]) -> None:
    table, key = missing
    with pytest.raises(msgspec.ValidationError, match=f"missing required field `{key}`"):
        msgspec.convert({**LEAST, table: {}}, Settings)
