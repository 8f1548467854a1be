# SPDX-License-Identifier: Apache-2.0
"""What the supervisor asks of the kernel for itself and its worker (prctl(2)).

Rule: what is here holds with and without systemd; the unit's sandbox comes on top.
"""

import ctypes
import os
import resource
import signal
from typing import Final

from fedagent.conditions.trainer import KERNEL_REFUSES
from fedagent.errors import TrainerError

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38

_libc: Final = ctypes.CDLL(None, use_errno=True)


def shield() -> None:
    """Nobody of the same user can read or write this process's memory, and nothing below it gains a right.

    The worker has the supervisor's user: without this it could rewrite the gate through /proc/PID/mem. exec makes the
    worker dumpable again, the lack of new privileges it inherits.

    Raises:
        TrainerError: the kernel refused.
    """
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(_PR_SET_DUMPABLE, 0)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def die_with(parent: int) -> None:
    """This process is killed when its parent ends, however that ends; for the time between fork and exec."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the line above
        os.kill(os.getpid(), signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise TrainerError(KERNEL_REFUSES(call=f"prctl({option})", reason=os.strerror(number)))
