# SPDX-License-Identifier: Apache-2.0
"""Which sandbox the snapshot program gets: the installed unit's, line by line, drop-ins included."""

import os
from pathlib import Path

import msgspec
import pytest

from fedagent.cli import snapshot_unit
from fedagent.core.settings import BrokerSettings, Paths, Settings, SiteSettings

SERVICE = Settings(site=SiteSettings(name="clinic"), broker=BrokerSettings(host="broker"))
BY_HAND = msgspec.structs.replace(SERVICE, paths=Paths(trainer_state="/somewhere/else"))
UNIT = """\
# /lib/systemd/system/fedagent-snapshot@.service
[Unit]
Description=Snapshot
[Service]
Type=oneshot
# a reason
User=fedagent-trainer
ExecStart=/usr/lib/fedagent/bin/fedagent-snapshot %I
InaccessiblePaths=-/a -/b

# /etc/systemd/system/fedagent-snapshot@heart.service.d/source.conf
[Service]
BindReadOnlyPaths=/home/data
"""


@pytest.fixture
def booted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with systemd, whose systemctl knows the unit."""
    (tmp_path / "unit").write_text(UNIT)
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(
        f'#!/bin/sh\necho "$@" >>"{tmp_path}/asked"\n[ "$1" != cat ] || cat "{tmp_path}/unit"\n'
    )
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(snapshot_unit, "SYSTEMD", tmp_path)
    monkeypatch.setattr(snapshot_unit, "DROP_INS", tmp_path / "drop-ins")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return tmp_path


def test_the_sandbox_is_the_unit_s_with_its_drop_ins(booted: Path) -> None:
    line = snapshot_unit.in_sandbox(["snapshot", "heart"], SERVICE, name="heart", shown=[])
    assert line is not None
    assert [word for word in line if word.startswith("--property=")] == [
        "--property=User=fedagent-trainer",
        "--property=InaccessiblePaths=-/a -/b",
        "--property=BindReadOnlyPaths=/home/data",
    ]
    assert line[0] == "systemd-run"
    assert line[-3:] == ["--", "snapshot", "heart"]
    assert (booted / "asked").read_text() == "cat fedagent-snapshot@heart.service\n"


def test_a_file_below_a_home_folder_is_shown_and_another_needs_nothing(booted: Path) -> None:
    shown = [Path('/home/anna/50 % "new".toml'), Path("/srv/study.toml")]
    line = snapshot_unit.in_sandbox(["snapshot"], SERVICE, name=None, shown=shown)
    assert line is not None
    assert line[-3] == r'--property=BindReadOnlyPaths="/home/anna/50 %% \"new\".toml"'
    assert not any("/srv" in word for word in line)


def test_settings_of_somebody_who_tries_it_out_have_no_unit(booted: Path) -> None:
    assert snapshot_unit.in_sandbox(["snapshot"], BY_HAND, name="heart", shown=[]) is None
    snapshot_unit.show_source("heart", Path("/home/data/heart.csv"), BY_HAND)
    assert not (booted / "drop-ins").exists()


def test_without_the_unit_there_is_no_sandbox(booted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (booted / "systemctl").write_text("#!/bin/sh\nexit 1\n")
    assert snapshot_unit.in_sandbox(["snapshot"], SERVICE, name="heart", shown=[]) is None
    monkeypatch.setattr(snapshot_unit, "SYSTEMD", booted / "none")
    assert snapshot_unit.in_sandbox(["snapshot"], SERVICE, name="heart", shown=[]) is None


def test_a_source_below_a_home_folder_gets_a_drop_in_of_its_dataset(booted: Path) -> None:
    snapshot_unit.show_source("heart", Path("/srv/heart.csv"), SERVICE)
    assert not (booted / "drop-ins").exists()
    snapshot_unit.show_source("heart", Path("/home/data/heart.csv"), SERVICE)
    file = booted / "drop-ins/fedagent-snapshot@heart.service.d/source.conf"
    assert file.read_text() == '[Service]\nBindReadOnlyPaths="/home/data/heart.csv"\n'
    assert (booted / "asked").read_text() == "daemon-reload\n"
