# SPDX-License-Identifier: Apache-2.0
"""Files that are there whole or not at all."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fedagent.errors import NoSpaceError, StorageError
from fedagent.storage.files import make_private_folder, write_atomically
from tests.fakes.small_disk import small_disk


def test_a_file_holds_what_was_written_last(state_folder: Path) -> None:
    path = state_folder / "file"
    write_atomically(path, b"a longer first version")
    write_atomically(path, b"second", mode=0o640)
    assert path.read_bytes() == b"second"
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(state_folder.iterdir()) == [path]


def test_the_mode_does_not_depend_on_the_umask(state_folder: Path) -> None:
    before = os.umask(0o077)
    try:
        write_atomically(state_folder / "file", b"", mode=0o644)
    finally:
        os.umask(before)
    assert (state_folder / "file").stat().st_mode & 0o777 == 0o644


def test_a_file_that_cannot_be_written_is_named(state_folder: Path) -> None:
    with pytest.raises(StorageError, match=r"absent/file: .*; make the folder .*absent first"):
        write_atomically(state_folder / "absent" / "file", b"x")


@pytest.mark.parametrize(("point", "left"), [("file-before-rename", b"old"), ("file-after-rename", b"new")])
def test_a_killed_writer_leaves_the_old_or_the_new(state_folder: Path, point: str, left: bytes) -> None:
    path = state_folder / "file"
    write_atomically(path, b"old")
    program = "import sys; from pathlib import Path; from fedagent.storage.files import write_atomically as w; w(Path(sys.argv[1]), b'new')"
    environment = {**os.environ, "FEDAGENT_FAILPOINT": point, "PYTHONPATH": os.pathsep.join(sys.path)}
    died = subprocess.run([sys.executable, "-c", program, str(path)], env=environment, check=False)
    assert died.returncode == -signal.SIGKILL
    assert path.read_bytes() == left


def test_a_private_folder_is_entered_by_its_owner_alone(state_folder: Path) -> None:
    made = make_private_folder(state_folder / "a" / "b")
    assert make_private_folder(made) == made
    assert made.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_cannot_be_made_is_named(state_folder: Path) -> None:
    (state_folder / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="file/folder"):
        make_private_folder(state_folder / "file" / "folder")


def test_a_full_disk_is_an_error_of_its_own_and_half_a_file_gives_its_room_back(state_folder: Path) -> None:
    with small_disk(state_folder / "disk", mib=1) as disk:
        disk.fill(but_bytes=65_536)
        with pytest.raises(NoSpaceError, match="free space there"):
            write_atomically(disk.folder / "state", bytes(100_000))
        write_atomically(disk.folder / "state", bytes(50_000))
        assert (disk.folder / "state").stat().st_size == 50_000
