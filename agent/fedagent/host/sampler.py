# SPDX-License-Identifier: Apache-2.0
"""Looks at the machine and gives one sample of facts.

Rule: a reader that fails gives None, and the governor says what that means.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from fedagent.core.facts import Facts, Instant
from fedagent.host import cpu, disk, memory


class Sampler:
    """Keeps the last counters, for rates need two looks.

    Args:
        root: ``/``, or a captured tree in tests.
        states: folders that our programs write to.
    """

    def __init__(self, root: Path, states: Sequence[Path]) -> None:
        self._root, self._states = root, states
        self._last: tuple[float, cpu.CpuTimes, dict[str, float]] | None = None

    def sample(self, now: Instant) -> Facts:
        """The machine now; the CPU's use since the last call."""
        local = datetime.fromtimestamp(now.wall).astimezone()
        times = cpu.read(self._root)
        own = cpu.read_own(self._root)
        ratio = self._others_ratio(now.monotonic, times, own)
        if times is not None:
            self._last = (now.monotonic, times, own)
        return Facts(
            taken_at=now.monotonic,
            weekday=local.weekday(),
            minute=local.hour * 60 + local.minute,
            cpu_count=times.count if times else 1,
            cpu_others_ratio=ratio,
            memory_available_mib=memory.read(self._root),
            disk_free_mib=disk.read(self._states),
        )

    def _others_ratio(self, now: float, times: cpu.CpuTimes | None, own: dict[str, float]) -> float | None:
        if self._last is None or times is None:
            return None
        then, last, last_own = self._last
        # A part that was not there is one of ours that has just begun: all that it used is ours.
        ours = sum(used - last_own.get(part, 0.0) for part, used in own.items())
        elapsed = (now - then) * times.count
        if elapsed <= 0:
            return None
        return min(1.0, max(0.0, (times.busy_s - last.busy_s - ours) / elapsed))
