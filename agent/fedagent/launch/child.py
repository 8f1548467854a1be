# SPDX-License-Identifier: Apache-2.0
"""The supervisor as a child process: for machines without systemd, the demo and tests.

Rule: the child gets the connection as descriptor 3, as systemd would give it, and nothing else of ours.
"""

import os
import signal
import socket
import sys
from pathlib import Path
from typing import Final

PROGRAM: Final = ("-P", "-m", "fedagent.trainer.supervisor")
CONNECTION: Final = 3
"""SD_LISTEN_FDS_START, sd_listen_fds(3)."""

_ENVIRONMENT: Final = (
    "PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES",
    "FEDAGENT_FAILPOINT", "JOURNAL_STREAM",
)  # fmt: skip


class Child:
    """A running supervisor of ours; to be reaped once."""

    def __init__(self, pid: int) -> None:
        """Opens the child's pidfd."""
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)

    def kill(self) -> None:
        """SIGKILL; the worker dies with it (PR_SET_PDEATHSIG)."""
        signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def reap(self) -> int:
        """Its exit status, or minus the number of the signal that ended it; to be called when the pidfd is readable."""
        _, status = os.waitpid(self.pid, 0)
        os.close(self.pidfd)
        return os.waitstatus_to_exitcode(status)


def start_child(config: Path) -> tuple[socket.socket, Child]:
    """Our end of the connection, and the supervisor at the other end.

    Raises:
        OSError: no descriptors or processes left.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, *PROGRAM, "--config", str(config)],
            {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, 2, 1),
                (os.POSIX_SPAWN_DUP2, theirs.fileno(), CONNECTION),
            ],
            setsid=True,  # a terminal's Ctrl-C is the daemon's business
            setsigmask=(),
        )
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
    return ours, Child(pid)
