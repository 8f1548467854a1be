# SPDX-License-Identifier: Apache-2.0
"""A machine as a tree of files: ``/proc`` and ``/sys`` as far as ``fedagent.host`` reads them."""

import os
from pathlib import Path
from typing import Final

TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")
CAPTURED: Final = Path(__file__).parents[1] / "data" / "host"


class FakeHost:
    """Counters that a test turns; every change is in the files at once.

    Args:
        root: what ``/`` is to the readers.
    """

    def __init__(self, root: Path, *, cpus: int = 4) -> None:
        self.root, self.cpus = root, cpus
        self.write("proc/meminfo", "MemTotal:       16000000 kB\nMemAvailable:    8388608 kB\n")
        self.worked(0.0)

    def write(self, path: str, text: str) -> None:
        """The file holds this."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def remove(self, path: str) -> None:
        """The file is gone."""
        (self.root / path).unlink()

    def worked(self, seconds: float) -> None:
        """So many CPU seconds were worked since boot, by anybody."""
        user = round(seconds * TICKS_A_SECOND)
        lines = [f"cpu  {user} 0 0 900000 500 0 0 0 0 0"]
        lines += [f"cpu{index} {user // self.cpus} 0 0 9000 5 0 0 0 0 0" for index in range(self.cpus)]
        self.write("proc/stat", "\n".join([*lines, "intr 12345", "ctxt 678", ""]))

    def process(self, process: int, parent: int, seconds: float) -> None:
        """A child of that process has used so many CPU seconds."""
        children = self.root / f"proc/{parent}/task/{parent}/children"
        known = children.read_text().split() if children.exists() else []
        self.write(
            f"proc/{parent}/task/{parent}/children",
            " ".join(dict.fromkeys([*known, str(process)])) + " ",
        )
        ticks = round(seconds * TICKS_A_SECOND)
        self.write(
            f"proc/{process}/stat",
            f"{process} (a (b) c) S {parent} 1 1 0 -1 4194560 0 0 0 0 {ticks} 0 0 0 20 0 1 0 99 0 0",
        )

    def slice(self, seconds: float) -> None:
        """systemd's slice of the trainers has used so many CPU seconds."""
        self.write(
            "sys/fs/cgroup/fedagent.slice/cpu.stat",
            f"usage_usec {round(seconds * 1e6)}\nuser_usec 0\nsystem_usec 0\n",
        )
