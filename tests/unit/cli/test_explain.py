# SPDX-License-Identifier: Apache-2.0
import json
import re
import subprocess
import sys
from collections.abc import Callable

import pytest

from fedagent.cli import aggregator
from fedagent.cli import main as site
from fedagent.cli.explain import explained
from fedagent.conditions.condition import Condition
from fedagent.conditions.files import MAY_NOT_WRITE, ROOM_AGAIN
from fedagent.conditions.settings import UNKNOWN_KEY_NEAR
from fedagent.conditions.table import TABLE

PROGRAMS = pytest.mark.parametrize("main", [site.main, aggregator.main], ids=["fedagent", "fedaggregator"])
Main = Callable[[list[str]], int]


@PROGRAMS
@pytest.mark.parametrize("given", ["FA2004", "fa2004", "[FA2004]"])
def test_a_code_is_explained(capsys: pytest.CaptureFixture[str], main: Main, given: str) -> None:
    assert UNKNOWN_KEY_NEAR.code == "FA2004"
    assert main(["explain", given]) == 0
    assert capsys.readouterr().out == (
        "FA2004      Unknown key, one like it is known\n"
        "what is so  <path>: <key>: unknown key\n"
        "what to do  did you mean <near>?\n"
        "severity    error\n"
        "exit code   78 (configuration)\n"
    )


def test_what_is_only_told_asks_for_nothing_and_ends_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert site.main(["explain", ROOM_AGAIN.code]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2:] == ["what to do  nothing", "severity    info"]


@PROGRAMS
def test_without_a_code_all_are_listed(capsys: pytest.CaptureFixture[str], main: Main) -> None:
    assert main(["explain"]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{each.code}  {each.title}" for each in TABLE.values()]


@PROGRAMS
def test_programs_get_json(capsys: pytest.CaptureFixture[str], main: Main) -> None:
    assert main(["explain", "--json", MAY_NOT_WRITE.code]) == 0
    one = json.loads(capsys.readouterr().out)
    assert one == {
        "code": "FA1003",
        "title": "A file may not be written",
        "text": "cannot write <path>: <reason>",
        "action": "try sudo, or correct the permissions of <folder>",
        "severity": "error",
        "exit_code": 1,
    }
    assert main(["explain", "--json"]) == 0
    every = json.loads(capsys.readouterr().out)
    assert [each["code"] for each in every] == list(TABLE)
    assert one in every


@PROGRAMS
@pytest.mark.parametrize(
    ("given", "near"), [("FA20004", "FA2004"), ("AF2004", "FA2004"), ("FA7", "FA7001"), ("", "FA1001")]
)
def test_an_unknown_code_names_the_nearest(
    capsys: pytest.CaptureFixture[str], main: Main, given: str, near: str
) -> None:
    assert main(["explain", given]) == 64
    told = capsys.readouterr()
    assert told.out == ""
    assert (
        f"there is no condition {given!r}; did you mean {near}? without a code all are listed [FA9715]\n"
        in told.err
    )


@pytest.mark.parametrize("each", TABLE.values(), ids=lambda each: each.code)
def test_every_condition_can_be_explained(each: Condition) -> None:
    said = explained(each)
    assert not re.search(r"\{\w*[:!}]", said.text + said.action)


def test_the_command_loads_no_store_and_no_cryptography() -> None:
    script = (
        "import sys\nfrom fedagent.cli.main import main\nmain(['explain', 'FA1001'])\n"
        "print(sorted({'asyncio', 'cryptography', 'paho', 'sqlite3', 'numpy'} & sys.modules.keys()))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60
    )
    assert ran.stdout.splitlines()[-1] == "[]"
