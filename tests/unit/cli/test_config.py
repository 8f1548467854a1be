# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import pytest

from fedagent.cli.main import main


def run(capsys: pytest.CaptureFixture[str], config: Path, *line: str) -> str:
    assert main(["config", *line, "--config", str(config)]) == 0
    return capsys.readouterr().out


def test_right_settings_are_said_to_be_right(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, config, "check") == f"{config} is right: site clinic-a, mode train\n"


def test_every_setting_is_shown_with_where_it_came_from(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overlay = config.with_suffix(".d") / "50-night.toml"
    overlay.parent.mkdir()
    overlay.write_text('mode = "observe"\n[[governor.windows]]\nfrom = "20:00"\nuntil = "06:00"\n')
    lines = run(capsys, config, "show").splitlines()
    assert f"site.name = 'clinic-a'  # {config}" in lines
    assert f"mode = 'observe'  # {overlay}" in lines
    assert "governor.cpu_samples = 2  # default" in lines
    (windows,) = [line for line in lines if line.startswith("governor.windows = ")]
    assert "'from': '20:00'" in windows
    assert windows.endswith(f"  # {overlay}")


@pytest.mark.parametrize("action", ["check", "show"])
def test_programs_get_json(config: Path, capsys: pytest.CaptureFixture[str], action: str) -> None:
    told = json.loads(run(capsys, config, action, "--json"))
    assert told["broker.host"] == {"value": "broker", "from": str(config)}
    assert told["broker.port"] == {"value": 8883, "from": "default"}


def test_a_later_file_lies_over_an_earlier_one(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = config.with_suffix(".d")
    folder.mkdir()
    (folder / "10-a.toml").write_text("trainer.threads = 2\ntrainer.keep_warm_s = 1.0\n")
    (folder / "20-b.toml").write_text("trainer.threads = 4\n")
    told = json.loads(run(capsys, config, "show", "--json"))
    assert told["trainer.threads"] == {"value": 4, "from": str(folder / "20-b.toml")}
    assert told["trainer.keep_warm_s"] == {"value": 1.0, "from": str(folder / "10-a.toml")}


def test_what_is_wrong_in_a_later_file_is_named_with_it(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = config.with_suffix(".d")
    folder.mkdir()
    (folder / "99-typo.toml").write_text("governor.memory_availble_mib = 5\n")
    assert main(["config", "check", "--config", str(config)]) == 78
    assert capsys.readouterr().err == (
        f"fedagent: {config} (with 99-typo.toml): governor.memory_availble_mib: unknown key; "
        "did you mean 'memory_available_mib'? [FA2004]\n"
    )
