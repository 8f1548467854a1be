# SPDX-License-Identifier: Apache-2.0
"""What ends the supervisor: its connection, or SIGTERM.

Rule: whoever works long calls ``check`` about once a chunk, so that the end is noticed within a fraction of a second.
"""

import os
import select
import signal
from typing import Final

from fedagent.conditions.trainer import DAEMON_GONE, TOLD_TO_END
from fedagent.errors import TrainerError

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class EndError(TrainerError):
    """The supervisor has to end now; not a fault."""


class Lifeline:
    """Watches the connection's other end and the signals."""

    def __init__(self, connection: int) -> None:
        """Takes SIGTERM and SIGINT over for the rest of the process."""
        self.signals, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, lambda *_: None)
        self._poll = select.poll()
        self._poll.register(connection, 0)  # hang-up and error are always told
        self._poll.register(self.signals, select.POLLIN)

    def check(self, wait_ms: int = 0) -> None:
        """Returns while the supervisor is wanted.

        Raises:
            EndError: it is not.
        """
        ready = [descriptor for descriptor, _ in self._poll.poll(wait_ms)]
        if self.signals in ready:
            raise EndError(TOLD_TO_END())
        if ready:
            raise EndError(DAEMON_GONE())
