# SPDX-License-Identifier: Apache-2.0
"""One sample of the machine, with units; what could not be read is None.

Rule: a new signal is one field here, one reader in ``host/``, one line of ``governor.judge``, one row of its test table.
"""

import msgspec


class Instant(msgspec.Struct, frozen=True):
    """Now, twice: durations come from ``monotonic`` (seconds), what people read from ``wall`` (Unix seconds)."""

    monotonic: float
    wall: float


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the governor judges.

    Attributes:
        taken_at: monotonic seconds.
        weekday: 0 is Monday, local time; with ``minute`` of the day.
        cpu_others_ratio: share of all CPUs that others than fedagent used since the last sample.
        memory_available_mib: MemAvailable of proc_meminfo(5).
        disk_free_mib: on the fuller of the disks that hold the daemon's and the trainer's state.
    """

    taken_at: float
    weekday: int
    minute: int
    cpu_count: int
    cpu_others_ratio: float | None
    memory_available_mib: int | None
    disk_free_mib: int | None
