# SPDX-License-Identifier: Apache-2.0
"""Whether the worker still moves, and whether the kernel killed it for memory: what only its supervisor can see.

Rule: only time counts in which the worker could have worked. Neither a pause nor time in which we ourselves got no CPU
(a suspended machine, a frozen slice, a full load) is held against it.
"""

from pathlib import Path
from typing import Final

from fedagent.conditions.condition import Said
from fedagent.conditions.trainer import LOADING_TOO_LONG, STEP_TOO_LONG

LOOK_S: Final = 1.0
"""So often the supervisor looks at a worker that has a job."""

_COUNTED_S: Final = 2 * LOOK_S
"""At most so much is counted between two looks: who looks later was held up itself."""


class Watch:
    """How long a job's worker has stood still."""

    def __init__(self, *, step_limit_s: float, load_limit_s: float) -> None:
        """Watches nothing yet."""
        self._step_limit_s, self._load_limit_s = step_limit_s, load_limit_s
        self._still_s, self._looked_at, self._was_paused = 0.0, 0.0, False
        self._step: int | None = None

    def begin(self, now: float) -> None:
        """A worker was given a job.

        Args:
            now: seconds of the monotonic clock.
        """
        self._still_s, self._looked_at, self._was_paused, self._step = 0.0, now, False, None

    def moved(self, step: int) -> None:
        """The worker says that it is at this step; one that only repeats itself stands still."""
        if self._step is None or step > self._step:
            self._step, self._still_s = step, 0.0

    def look(self, now: float, *, paused: bool) -> Said | None:
        """What is wrong, where the worker has stood still for too long."""
        if not (paused or self._was_paused):
            self._still_s += min(now - self._looked_at, _COUNTED_S)
        self._looked_at, self._was_paused = now, paused
        if self._step is None and self._still_s > self._load_limit_s:
            return LOADING_TOO_LONG(limit_s=self._load_limit_s)
        if self._step is not None and self._still_s > self._step_limit_s:
            return STEP_TOO_LONG(step=self._step + 1, limit_s=self._step_limit_s)
        return None


class KernelKills:
    """How many processes the kernel has killed because no memory was left."""

    def __init__(self, unit: Path | None, proc: Path = Path("/proc")) -> None:
        """Counts in our own cgroup where that counts (memory.events of cgroup v2), else on the whole machine.

        Args:
            unit: folder of our own cgroup v2.
        """
        own = None if unit is None else unit / "memory.events"
        self._file = own if own is not None and own.exists() else proc / "vmstat"

    def count(self) -> int:
        """Since the cgroup was made, or the machine booted."""
        return parse_kills(self._file.read_text(encoding="ascii"))


def parse_kills(text: str) -> int:
    """The line ``oom_kill`` of memory.events or /proc/vmstat; 0 where there is none."""
    for line in text.splitlines():
        name, _, number = line.partition(" ")
        if name == "oom_kill":
            return int(number)
    return 0


def is_paused(stat: str) -> bool:
    """Whether a process is stopped by a signal.

    Args:
        stat: its /proc/PID/stat, proc_pid_stat(5); empty where it is gone.
    """
    return stat.rpartition(")")[2].split()[:1] in (["T"], ["t"])
