# SPDX-License-Identifier: Apache-2.0
"""Who may write the aggregator's state.

Rule: one process at a time: the daemon, or a command that stands in for it while it is down (flock(2)).
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Final

from fedagent.conditions.aggregator import STATE_IN_USE
from fedagent.errors import UnavailableError
from fedagent.storage.files import make_private_folder

POLL_S: Final = 0.1


@contextmanager
def locked(state: Path, *, within_s: float = 0.0) -> Iterator[None]:
    """Nobody else writes this state: neither the daemon nor a command that stands in for it.

    Args:
        within_s: wait so long for whoever holds the lock.

    Raises:
        UnavailableError: somebody does.
    """
    make_private_folder(state)
    descriptor = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    end, pace = monotonic() + within_s, Event()
    try:
        while not _lock(descriptor):
            if monotonic() >= end:
                raise UnavailableError(STATE_IN_USE(path=state))
            pace.wait(POLL_S)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
