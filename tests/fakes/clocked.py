# SPDX-License-Identifier: Apache-2.0
"""A wall clock that a test sets: libfaketime below real programs, the monotonic clock left as it is.

Run as a program, ``clocked.py ARGUMENTS`` is ``fedagent ARGUMENTS`` whose trainer has the same clock.
"""

import sys
from pathlib import Path

from fedagent.cli.main import main
from fedagent.launch import child
from fedagent.storage.files import write_atomically

NAMES = (
    "LD_PRELOAD",
    "FAKETIME_TIMESTAMP_FILE",
    "FAKETIME_NO_CACHE",
    "FAKETIME_DONT_FAKE_MONOTONIC",
    "NO_FAKE_STAT",
)


def library() -> Path | None:
    """Where libfaketime is, Debian package faketime."""
    return next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)


class Clock:
    """The clock of one machine."""

    def __init__(self, file: Path, library: Path, *, ahead_s: int = 0) -> None:
        """So much ahead of the real one."""
        self._file, self._library = file, library
        self.set(ahead_s)

    def set(self, ahead_s: int) -> None:
        """Somebody sets it; the programs on it see that at once."""
        write_atomically(self._file, f"{ahead_s:+d}".encode())

    @property
    def environment(self) -> dict[str, str]:
        """For every program on that machine."""
        values = (str(self._library), str(self._file), "1", "1", "1")
        return dict(zip(NAMES, values, strict=True))

    @property
    def words(self) -> list[str]:
        """What stands before a command line."""
        return ["env", *(f"{name}={value}" for name, value in self.environment.items())]


if __name__ == "__main__":
    child._ENVIRONMENT = (*child._ENVIRONMENT, *NAMES)  # type: ignore[assignment,misc]
    sys.exit(main(sys.argv[1:]))
