# SPDX-License-Identifier: Apache-2.0
"""The settings file and the approvals."""

from pathlib import Path

import pytest

from fedagent.errors import ConfigurationError
from fedagent.storage.settings import read_approval, read_settings

SETTINGS = '[site]\nname = "clinic-a"\n[broker]\nhost = "broker.example"\n'


def test_settings_have_defaults_and_overlays_in_the_order_of_their_names(tmp_path: Path) -> None:
    path = tmp_path / "fedagent.toml"
    path.write_text(SETTINGS)
    assert read_settings(path).broker.port == 8883
    folder = tmp_path / "fedagent.d"
    folder.mkdir()
    (folder / "20-port.toml").write_text("[broker]\nport = 2\n")
    (folder / "10-port.toml").write_text("[broker]\nport = 1\n")
    (folder / "30-other.txt").write_text("not read")
    read = read_settings(path)
    assert (read.broker.host, read.broker.port) == ("broker.example", 2)


def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    path = tmp_path / "fedagent.toml"
    path.write_text(SETTINGS + "prot = 1\n")
    with pytest.raises(ConfigurationError, match=r"broker\.prot: unknown key; did you mean 'port'"):
        read_settings(path)


def test_a_study_without_a_file_has_no_approval(tmp_path: Path) -> None:
    assert read_approval(tmp_path, "heart") is None


def test_an_approval_is_read_and_must_be_of_the_study_that_its_file_names(tmp_path: Path) -> None:
    text = f"""
        study = "heart"
        digest = "{64 * "0"}"
        dataset = "cardiology"
        approved_by = "root"
        approved_at = "2026-03-01T12:00:00Z"
    """
    (tmp_path / "heart.toml").write_text(text)
    (tmp_path / "lung.toml").write_text(text)
    approval = read_approval(tmp_path, "heart")
    assert approval
    assert (approval.study, approval.dataset) == ("heart", "cardiology")
    with pytest.raises(ConfigurationError, match="the file is named for 'lung'"):
        read_approval(tmp_path, "lung")


def test_a_wrong_approval_is_an_error_not_an_absence(tmp_path: Path) -> None:
    (tmp_path / "heart.toml").write_text("nonsense = 1\n")
    with pytest.raises(ConfigurationError, match=r"heart\.toml"):
        read_approval(tmp_path, "heart")
