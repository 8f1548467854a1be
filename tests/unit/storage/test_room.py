# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from fedagent.errors import NoSpaceError
from fedagent.storage.room import MIB, free_bytes, require
from tests.fakes.small_disk import small_disk


def test_what_is_free_is_what_can_be_written(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", mib=1) as disk:
        assert free_bytes(disk.folder) == MIB
        disk.fill(but_bytes=8192)
        assert free_bytes(disk.folder) == 8192


def test_of_a_folder_that_is_not_there_nobody_can_say(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "none") is None
    require(tmp_path / "none", 1, reserve_bytes=0)


def test_a_disk_without_the_room_or_the_reserve_is_named_with_what_it_needs(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", mib=2) as disk:
        require(disk.folder, MIB, reserve_bytes=MIB)
        with pytest.raises(
            NoSpaceError, match=r"2 MiB are free in .*/disk, 3 MiB are needed; free space there"
        ):
            require(disk.folder, MIB + 1, reserve_bytes=MIB)
