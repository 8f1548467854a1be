# SPDX-License-Identifier: Apache-2.0
"""All that lies in folders, so that a test can show that nothing was changed."""

import hashlib
import stat
from pathlib import Path


def contents(*folders: Path) -> dict[str, tuple[str, str]]:
    """Every path below the folders with its mode and, for a file, the SHA-256 of what is in it."""
    return {
        str(path): (
            stat.filemode(path.lstat().st_mode),
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
        )
        for folder in folders
        for path in sorted(folder.rglob("*"))
    }
