# SPDX-License-Identifier: Apache-2.0
"""The text of a file of the kernel's."""

from pathlib import Path

import pytest

from fedagent.host import kernel_file


def test_a_file_is_read_whole_however_long_it_is(tmp_path: Path) -> None:
    text = "intr 0\n" * 30_000
    (tmp_path / "stat").write_text(text)
    assert kernel_file.read(tmp_path, "stat") == text


def test_the_kernels_own_file_is_read() -> None:
    assert "MemAvailable:" in kernel_file.read(Path("/"), "proc/meminfo")


def test_a_name_that_is_no_text_does_not_stop_the_reader(tmp_path: Path) -> None:
    (tmp_path / "stat").write_bytes(b"12 (caf\xe9) S 1")
    assert kernel_file.read(tmp_path, "stat") == "12 (caf\ufffd) S 1"


def test_a_file_that_is_not_there_is_the_readers_to_judge(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        kernel_file.read(tmp_path, "stat")
