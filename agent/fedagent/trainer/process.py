# SPDX-License-Identifier: Apache-2.0
"""The worker as a process: started clean, stopped whole.

Rule: the worker inherits its channel as descriptor 3, the lock, and nothing else: no key, no connection, no secret of
the environment. It leads a process group of its own and dies with the supervisor.
"""

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fedagent.channel import FrameChannel
from fedagent.conditions.trainer import WORKER_DOES_NOT_DIE
from fedagent.errors import TrainerError
from fedagent.trainer.groups import WorkGroup
from fedagent.trainer.hardening import die_with
from fedagent.trainer.watch import is_paused

CHANNEL: Final = 3

_INHERITED: Final = (
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "PYTHONPATH",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "FEDAGENT_FAILPOINT",
)
_END_LIMIT_S: Final = 5.0


class WorkerProcess:
    """One worker from start to end.

    Attributes:
        channel: does not wait.
        condemned: we killed it ourselves.
    """

    def __init__(
        self, command: Sequence[str], *, home: Path, threads: int, group: WorkGroup | None, lock: int
    ) -> None:
        """Starts it; it waits for its first job.

        Args:
            home: the trainer's state folder: the worker's current and home folder.
            lock: descriptor that the worker keeps open as long as it lives.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self.channel = FrameChannel(ours)
        self.condemned = False
        self._group = group
        self._code: int | None = None
        parent = os.getpid()
        os.dup2(theirs.fileno(), CHANNEL)
        theirs.close()
        self._process = subprocess.Popen(
            command,
            cwd=home,
            env=environment(dict(os.environ), home=home, threads=threads),
            stdin=subprocess.DEVNULL,
            stdout=2,
            start_new_session=True,
            pass_fds=(CHANNEL, lock),
            preexec_fn=lambda: die_with(parent),  # noqa: PLW1509 (this process has one thread)
        )
        _reserve_channel()
        self.pid = self._process.pid
        self.pidfd = os.pidfd_open(self.pid)
        if group is not None:
            group.take(self.pid)

    def kill(self) -> None:
        """SIGKILL to the worker and all that it started, frozen or not."""
        if self._code is None:
            self.condemned = True
            self._kill_all()

    def paused(self) -> bool:
        """Whether somebody froze it or stopped it by a signal."""
        if self._group is not None and self._group.frozen():
            return True
        try:
            return is_paused(Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8", errors="replace"))
        except (FileNotFoundError, ProcessLookupError):
            return False

    def end(self) -> int:
        """Waits for its death, which must be on its way; returns the exit code, negative for a signal.

        Raises:
            TrainerError: it does not die; a starved or stuck process dies late.
        """
        if self._code is not None:
            return self._code
        self._kill_all()  # what the worker started does not outlive it
        try:
            self._code = self._process.wait(_END_LIMIT_S)
        except subprocess.TimeoutExpired as error:
            raise TrainerError(WORKER_DOES_NOT_DIE(limit_s=_END_LIMIT_S)) from error
        os.close(self.pidfd)
        self.channel.close()
        return self._code

    def _kill_all(self) -> None:
        if self._group is not None:
            self._group.kill()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)  # not reaped yet, so the number is still its own


def free_channel() -> int:
    """Moves our own connection away from ``CHANNEL``, which the worker gets; returns its new number, close-on-exec."""
    moved = fcntl.fcntl(CHANNEL, fcntl.F_DUPFD_CLOEXEC, CHANNEL + 1)
    _reserve_channel()
    return moved


def _reserve_channel() -> None:
    """The number stays taken (by standard input), lest something else get it and be lost at a worker's start."""
    os.dup2(0, CHANNEL, inheritable=False)


def environment(inherited: dict[str, str], *, home: Path, threads: int) -> dict[str, str]:
    """The worker's environment: what finds libraries and devices, and one number of threads for all of them."""
    kept = {name: inherited[name] for name in _INHERITED if name in inherited}
    count = str(threads)
    return (
        kept
        | {
            "HOME": str(home),
            "OMP_NUM_THREADS": count,
            "MKL_NUM_THREADS": count,
            "OPENBLAS_NUM_THREADS": count,
            "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # deterministic, docs.nvidia.com/cuda/cublas "Results reproducibility"
            "PYTHONHASHSEED": "0",
        }
    )
