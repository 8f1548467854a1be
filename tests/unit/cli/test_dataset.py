# SPDX-License-Identifier: Apache-2.0
"""``fedagent dataset``: starts the snapshot program, shows what it prints, writes definitions."""

import argparse
import os
import pwd
import stat
from pathlib import Path

import msgspec
import pytest

from fedagent.cli.dataset import add_arguments, run
from fedagent.errors import ConfigurationError, StorageError, UsageError
from tests.fakes.datasets import STUDY, DataHospital

TABLE = "mrn,age,ill\n" + "".join(f"{mrn},{20 + mrn},{('no', 'yes')[mrn % 2]}\n" for mrn in range(60))


@pytest.fixture
def hospital(tmp_path: Path) -> DataHospital:
    hospital = DataHospital(tmp_path / "hospital")
    hospital.define_csv(TABLE, {"age": {"type": "number"}, "ill": {"type": "text"}}, patient="mrn")
    return hospital


def dataset(hospital: DataHospital, *words: str) -> int:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run(parser.parse_args([*words, "--config", str(hospital.config)]))


def test_snapshot_check_and_list_show_what_the_program_prints(
    hospital: DataHospital, capfd: pytest.CaptureFixture[str]
) -> None:
    study = hospital.write("study.toml", STUDY)
    assert dataset(hospital, "snapshot", "heart") == 0
    assert capfd.readouterr().out.startswith("dataset heart: snapshot ")
    assert dataset(hospital, "check", "heart", "--study", str(study)) == 0
    assert "The dataset fits the study." in capfd.readouterr().out
    assert dataset(hospital, "list", "--json") == 0
    (answer,) = msgspec.json.decode(capfd.readouterr().out)
    assert answer["digest"] == hospital.record().digest.hex()


def test_the_programs_exit_code_and_error_are_the_commands(
    hospital: DataHospital, capfd: pytest.CaptureFixture[str]
) -> None:
    assert dataset(hospital, "snapshot", "lung") == 78
    assert "there is no dataset 'lung'" in capfd.readouterr().err


def test_add_writes_a_definition_that_makes_a_snapshot(
    hospital: DataHospital, capfd: pytest.CaptureFixture[str]
) -> None:
    table = hospital.write("lung.csv", TABLE)
    assert dataset(hospital, "add", "lung", "--csv", str(table), "--patient", "mrn") == 0
    path = hospital.datasets / "lung.toml"
    assert capfd.readouterr().out.startswith(f"wrote {path}: ")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert dataset(hospital, "snapshot", "lung") == 0
    assert "60 rows of 60 patients, 2 columns" in capfd.readouterr().out


def test_add_never_overwrites(hospital: DataHospital) -> None:
    before = (hospital.datasets / "heart.toml").read_bytes()
    with pytest.raises(ConfigurationError, match=r"heart\.toml is there already"):
        dataset(hospital, "add", "heart", "--csv", str(hospital.folder / "heart.csv"))
    assert (hospital.datasets / "heart.toml").read_bytes() == before


def test_add_writes_nothing_where_the_file_is_wrong(
    hospital: DataHospital, capfd: pytest.CaptureFixture[str]
) -> None:
    assert dataset(hospital, "add", "lung", "--csv", "/nowhere.csv") == 1
    assert "there is no file /nowhere.csv" in capfd.readouterr().err
    assert not (hospital.datasets / "lung.toml").exists()


def test_a_name_that_no_dataset_can_have_is_refused(hospital: DataHospital) -> None:
    for name in ("../heart", "Heart", "x"):
        with pytest.raises(UsageError, match="cannot be a dataset's name"):
            dataset(hospital, "snapshot", name)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_as_root_the_program_runs_as_whom_the_state_belongs_to(
    hospital: DataHospital, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedagent.cli.dataset.PROGRAM", ("/bin/sh", "-c", "id -u; id -g; id -G"))
    nobody = pwd.getpwnam("nobody")
    hospital.state.mkdir(mode=0o700)
    os.chown(hospital.state, nobody.pw_uid, nobody.pw_gid)
    assert dataset(hospital, "snapshot", "heart") == 0
    user, group, groups = capfd.readouterr().out.splitlines()
    assert (int(user), int(group)) == (nobody.pw_uid, nobody.pw_gid)
    assert "0" not in groups.split()
    table = hospital.write("lung.csv", TABLE)
    monkeypatch.setattr("fedagent.cli.dataset.PROGRAM", ("/bin/echo",))
    assert dataset(hospital, "add", "lung", "--csv", str(table)) == 0
    written = (hospital.datasets / "lung.toml").stat()
    assert (written.st_uid, written.st_gid) == (0, nobody.pw_gid)


def test_a_program_that_cannot_be_started_is_told(
    hospital: DataHospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedagent.cli.dataset.PROGRAM", ("/nowhere",))
    with pytest.raises(
        StorageError, match=r"cannot start the snapshot program as .*: No such file or directory"
    ):
        dataset(hospital, "list")
