# SPDX-License-Identifier: Apache-2.0
"""How the daemon stops the worker: one write to its cgroup, or a signal to its process group.

Rule: nothing here waits for the worker, which may get no CPU at all; a frozen worker can always be killed.
"""

import ctypes
import os
import signal
from collections.abc import Sequence
from typing import Final, Protocol

from typing_extensions import override

from fedagent.channel import close_all
from fedagent.conditions.messages import WRONG_DESCRIPTORS
from fedagent.errors import WireError
from fedagent.wire.frames import Ready

_SYS_PROCESS_MRELEASE: Final = 448
"""Since Linux 5.15, the same number on every architecture."""

_libc: Final = ctypes.CDLL(None)


class Control(Protocol):
    """The worker's brake."""

    def freeze(self) -> None:
        """The worker and all its children stop, wherever they are."""
        ...

    def thaw(self) -> None:
        """They go on."""
        ...

    def kill(self) -> None:
        """They die, frozen or not, and the worker's private memory is free before it gets the CPU to end."""
        ...

    def close(self) -> None:
        """The descriptors are closed; the worker is left as it is."""
        ...


class CgroupControl(Control):
    """Open files of the worker's cgroup v2: the kernel checked the right to write when the supervisor opened them."""

    def __init__(self, descriptors: Sequence[int]) -> None:
        """Takes over the worker's pidfd and its cgroup.freeze, cgroup.kill and cgroup.events."""
        self._descriptors = descriptors
        self._pidfd, self._freeze, self._kill, _ = descriptors

    @override
    def freeze(self) -> None:
        os.pwrite(self._freeze, b"1", 0)

    @override
    def thaw(self) -> None:
        os.pwrite(self._freeze, b"0", 0)

    @override
    def kill(self) -> None:
        os.pwrite(self._kill, b"1", 0)
        _release_memory(self._pidfd)

    @override
    def close(self) -> None:
        close_all(self._descriptors)


class GroupControl(Control):
    """Signals to the process group that the worker leads (same user only, so never across the systemd socket)."""

    def __init__(self, descriptors: Sequence[int], group: int) -> None:
        """Takes over the worker's pidfd; ``group`` is its process id."""
        (self._pidfd,) = descriptors
        self._group = group

    @override
    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    @override
    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    @override
    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        _release_memory(self._pidfd)

    @override
    def close(self) -> None:
        os.close(self._pidfd)

    def _signal(self, number: signal.Signals) -> None:
        try:
            signal.pidfd_send_signal(self._pidfd, 0)  # not yet reaped, so the group's number is still its own
            os.killpg(self._group, number)
        except ProcessLookupError:
            return


def control_of(ready: Ready, descriptors: Sequence[int]) -> Control:
    """The brake that the supervisor handed over; takes the descriptors over.

    Raises:
        WireError: other descriptors than ``Ready`` promises; they are closed.
    """
    expected = 4 if ready.control == "cgroup" else 1
    if len(descriptors) != expected:
        close_all(descriptors)
        said = WRONG_DESCRIPTORS(count=len(descriptors), expected=expected)
        raise WireError(said, "descriptors")
    return (
        CgroupControl(descriptors)
        if ready.control == "cgroup"
        else GroupControl(descriptors, ready.worker_pid)
    )


def _release_memory(pidfd: int) -> None:
    """Takes the memory of a process that was just killed from it, at the price of our own CPU time.

    A process of an idle class beside a full load waits seconds for the CPU that its exit needs. Where the kernel cannot
    do this, or the process has let go of its memory itself, the exit does it. Source: process_mrelease(2).
    """
    _libc.syscall(_SYS_PROCESS_MRELEASE, pidfd, 0)
