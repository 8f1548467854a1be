# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from fedagent.host import disk
from tests.fakes.small_disk import small_disk


def test_the_fullest_disk_counts(tmp_path: Path) -> None:
    with small_disk(tmp_path / "a", mib=4), small_disk(tmp_path / "b", mib=2) as small:
        assert disk.read((tmp_path / "a", tmp_path / "b")) == 2
        small.fill()
        assert disk.read((tmp_path / "a", tmp_path / "b")) == 0


def test_a_folder_that_is_not_there_yet_lies_on_the_disk_where_it_will_be_made(tmp_path: Path) -> None:
    with small_disk(tmp_path / "a", mib=4):
        assert disk.read((tmp_path / "a" / "state" / "blobs",)) == 4


def test_what_cannot_be_read_is_not_known(tmp_path: Path) -> None:
    assert disk.read((tmp_path / ("x" * 300),)) is None  # longer than a name may be
