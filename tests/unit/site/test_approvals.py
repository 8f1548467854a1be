# SPDX-License-Identifier: Apache-2.0
import logging
import os
from pathlib import Path

import msgspec
import pytest
import tomli_w

from fedagent.core.approval import Approval
from fedagent.site.approvals import ApprovalFolder
from tests.fakes.scenes import NAME, approval, named


def write(folder: Path, given: Approval, *, name: str | None = None, age_s: int = 0) -> Path:
    """The approval's file, with a time of change that differs from one age to the next."""
    fields = {key: value for key, value in msgspec.to_builtins(given).items() if value is not None}
    path = folder / f"{name or given.study}.toml"
    path.write_text(tomli_w.dumps(fields))
    os.utime(path, ns=(10**18, 10**18 - age_s * 10**9))
    return path


def test_the_approvals_are_read_once(tmp_path: Path) -> None:
    write(tmp_path, approval())
    folder = ApprovalFolder(tmp_path)
    assert folder.changed() == {NAME: approval()}
    assert folder.changed() is None


def test_a_folder_that_is_empty_or_missing_approves_nothing(tmp_path: Path) -> None:
    assert ApprovalFolder(tmp_path).changed() == {}
    missing = ApprovalFolder(tmp_path / "missing")
    assert missing.changed() == {}
    assert missing.changed() is None


def test_what_comes_changes_and_goes_is_noticed(tmp_path: Path) -> None:
    folder = ApprovalFolder(tmp_path)
    assert folder.changed() == {}
    path = write(tmp_path, approval(), age_s=2)
    assert folder.changed() == {NAME: approval()}
    write(tmp_path, approval(dataset="other"), age_s=1)
    assert folder.changed() == {NAME: approval(dataset="other")}
    lung = named("lung-1")
    write(tmp_path, approval(lung))
    assert folder.changed() == {NAME: approval(dataset="other"), "lung-1": approval(lung)}
    path.unlink()
    assert folder.changed() == {"lung-1": approval(lung)}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("not = [toml", id="no TOML"),
        pytest.param('study = "heart-1"\n', id="incomplete"),
        pytest.param("\ufffd\x00", id="noise"),
    ],
)
def test_a_file_that_is_wrong_approves_nothing_and_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    write(tmp_path, approval(named("lung-1")))
    (tmp_path / f"{NAME}.toml").write_text(text)
    folder = ApprovalFolder(tmp_path)
    with caplog.at_level(logging.WARNING):
        found = folder.changed()
        assert folder.changed() is None
    assert found is not None
    assert found.keys() == {"lung-1"}
    (record,) = caplog.records
    assert record.getMessage().startswith("this approval does not count: ")
    assert f"{NAME}.toml" in record.getMessage()


def test_a_file_under_another_study_s_name_approves_neither(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, approval(), name="lung-1")
    assert ApprovalFolder(tmp_path).changed() == {}
    assert "is 'heart-1', but the file is named for 'lung-1'" in caplog.text


def test_a_file_that_leads_nowhere_approves_nothing(tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.toml").symlink_to(tmp_path / "missing")
    assert ApprovalFolder(tmp_path).changed() == {}
