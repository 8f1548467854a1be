# SPDX-License-Identifier: Apache-2.0
"""The journal's catalog: every condition of the table, as journalctl reads it."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from fedagent.conditions.catalog import catalog, message_id
from fedagent.conditions.files import NO_SPACE
from fedagent.conditions.table import TABLE


def test_every_condition_has_an_entry_and_an_id_of_its_own() -> None:
    found = re.findall(r"^-- ([0-9a-f]{32})$", catalog(), re.MULTILINE)
    assert found == [message_id(code) for code in TABLE]
    assert len(set(found)) == len(found)


def test_an_id_is_the_same_for_ever() -> None:
    assert message_id("FA1004") == "a70b440f951c5c99829e8bff11bf18a1"


def test_an_entry_says_what_is_so_and_what_to_do_without_braces() -> None:
    (entry,) = re.findall(
        rf"^-- {message_id(NO_SPACE.code)}\n(.*?)(?=^-- )", catalog(), re.MULTILINE | re.DOTALL
    )
    assert entry.splitlines() == [
        "Subject: The disk is full [FA1004]",
        "Defined-By: fedagent",
        "",
        "What is so: cannot write <path>: <reason>.",
        "What to do: free space there.",
        "",
    ]


@pytest.mark.skipif(shutil.which("journalctl") is None, reason="no journalctl on this machine")
def test_journalctl_takes_it(tmp_path: Path) -> None:
    folder = tmp_path / "usr/lib/systemd/catalog"
    folder.mkdir(parents=True)
    (tmp_path / "var/lib/systemd/catalog").mkdir(parents=True)
    (folder / "fedagent.catalog").write_text(catalog())
    root = f"--root={tmp_path}"
    subprocess.run(["journalctl", root, "--update-catalog"], check=True, timeout=60)
    listed = subprocess.run(
        ["journalctl", root, "--list-catalog"], check=True, capture_output=True, text=True, timeout=60
    )
    assert len(listed.stdout.splitlines()) == len(TABLE)
