# SPDX-License-Identifier: Apache-2.0
"""A file system of a few MiB that a test can fill to the last byte; a real one, so it needs root."""

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest

_PAGE: Final = 4096


class SmallDisk:
    """What is mounted over a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self, *, but_bytes: int = 0) -> None:
        """Nobody can write another block, or only so much."""
        descriptor = os.open(self._ballast, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            _write_for_ever(descriptor)
        os.close(descriptor)
        os.truncate(self._ballast, max(0, self._ballast.stat().st_size - but_bytes))

    def empty(self) -> None:
        """There is room again."""
        self._ballast.unlink()


def _write_for_ever(descriptor: int) -> None:
    while True:
        os.write(descriptor, bytes(_PAGE))


@contextmanager
def small_disk(folder: Path, *, mib: int) -> Iterator[SmallDisk]:
    """The folder, with what is in it, on a disk of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as aside:
        shutil.copytree(folder, aside, dirs_exist_ok=True, symlinks=True)
        mount = [
            "mount",
            "-t",
            "tmpfs",
            "-o",
            f"size={mib}m,mode={folder.stat().st_mode & 0o777:o}",
            "tmpfs",
            str(folder),
        ]
        done = subprocess.run(mount, check=False, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(
                f"SKIPPED: a full disk needs a small file system, and root to mount one: {done.stderr.strip()}"
            )
        try:
            shutil.copytree(aside, folder, dirs_exist_ok=True, symlinks=True)
            yield SmallDisk(folder)
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
