# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from fedagent import VERSION
from fedagent.cli.main import main
from fedagent.wire.values import PROTOCOL


def test_the_version_names_the_protocol(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    assert capsys.readouterr().out == f"fedagent {VERSION} (protocol {PROTOCOL})\n"


def test_the_version_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"version": VERSION, "protocol": PROTOCOL}
