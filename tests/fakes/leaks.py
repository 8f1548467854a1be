# SPDX-License-Identifier: Apache-2.0
"""Finds what a test left behind: threads, processes, asyncio tasks.

Rule: processes are found by descent and by a mark in their environment (so a grandchild whose parent died is found as
well), and are ended by their id alone.
"""

import asyncio
import contextlib
import os
import select
import signal
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Final, NamedTuple

import psutil

GRACE_S: Final = 2.0
"""How long something that is ending may still take; a daemon's threads need some milliseconds."""

MARK: Final = "FEDAGENT_TEST_RUN"
_mark_value: Final = uuid.uuid4().hex
os.environ[MARK] = _mark_value

Process = tuple[int, float]
"""A process's id with its start time: ids are used again."""

_cancelled_tasks: Final[list[str]] = []


class _Look(NamedTuple):
    """What was found when this was the newest process of the machine."""

    newest: str
    found: frozenset[Process]


_last_look = _Look("", frozenset())


def watch_tasks() -> None:
    """Record each task that the end of ``asyncio.run`` finds unfinished, and would cancel without a word."""
    runners = asyncio.runners
    cancel_all = runners._cancel_all_tasks  # type: ignore[attr-defined]

    def cancel_and_tell(loop: asyncio.AbstractEventLoop) -> None:
        _cancelled_tasks.extend(repr(task) for task in asyncio.all_tasks(loop))
        cancel_all(loop)

    runners._cancel_all_tasks = cancel_and_tell  # type: ignore[attr-defined]


def take_tasks() -> list[str]:
    """Tasks that were unfinished when their loop ended, since the last call."""
    found = _cancelled_tasks.copy()
    _cancelled_tasks.clear()
    return found


def threads() -> frozenset[threading.Thread]:
    """The threads that Python knows of now."""
    return frozenset(threading.enumerate())


def processes() -> frozenset[Process]:
    """Every process that this test run started, directly or not.

    To look takes some milliseconds, twice a test: so only where the machine has started anything since the last look.
    """
    global _last_look  # noqa: PLW0603 (one test run, one machine)
    newest = _newest()
    if newest != _last_look.newest:
        _last_look = _Look(newest, frozenset(_descendants()) | frozenset(_marked()))
    return _last_look.found


def lingering_threads(before: frozenset[threading.Thread], grace_s: float = GRACE_S) -> list[str]:
    """Threads that were not there before, and do not end within the grace time."""
    deadline = monotonic() + grace_s
    for thread in threads() - before:
        thread.join(max(0.0, deadline - monotonic()))
    return sorted(repr(thread) for thread in threads() - before if thread.is_alive())


def lingering_processes(before: frozenset[Process], grace_s: float = GRACE_S) -> list[str]:
    """Processes that were not there before, and do not end within the grace time; they are killed.

    Returns:
        Id and command line of each.
    """
    deadline = monotonic() + grace_s
    left: list[str] = []
    for pid, started in processes() - before:
        with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
            _one_left(pid, started, deadline, left)
    return sorted(left)


def _one_left(pid: int, started: float, deadline: float, left: list[str]) -> None:
    handle = os.pidfd_open(pid)
    try:
        process = psutil.Process(pid)
        if process.create_time() != started or _ends(handle, deadline - monotonic()):
            return
        left.append(f"process {pid}: {' '.join(process.cmdline()) or process.name()}")
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        _ends(handle, GRACE_S)
    finally:
        os.close(handle)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def _ends(pidfd: int, within_s: float) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(max(0.0, within_s) * 1000))


def _newest() -> str:
    """The id that the kernel gave last (proc_loadavg(5))."""
    return Path("/proc/loadavg").read_text().split()[4]


def _descendants() -> Iterator[Process]:
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.status() != psutil.STATUS_ZOMBIE:
                yield child.pid, child.create_time()


def _marked() -> Iterator[Process]:
    wanted = f"{MARK}={_mark_value}".encode()
    for pid in psutil.pids():
        if pid == os.getpid():
            continue
        with contextlib.suppress(OSError, psutil.NoSuchProcess), open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123
            if wanted in file.read().split(b"\0"):
                yield pid, psutil.Process(pid).create_time()
