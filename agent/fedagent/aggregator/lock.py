# SPDX-License-Identifier: Apache-2.0
"""Who may write the aggregator's state.

Rule: one process at a time: the daemon, or a command that stands in for it while it is down (flock(2)).
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedagent.errors import UnavailableError
from fedagent.storage.files import make_private_folder


@contextmanager
def locked(state: Path) -> Iterator[None]:
    """Nobody else writes this state: neither the daemon nor a command that stands in for it.

    Raises:
        UnavailableError: somebody does.
    """
    make_private_folder(state)
    descriptor = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise UnavailableError(f"another fedaggregator uses {state}: stop it, or try again") from error
    finally:
        os.close(descriptor)
