# SPDX-License-Identifier: Apache-2.0
"""What every test has: a guard against leaks, a clock to turn by hand, a private state folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes import leaks
from tests.fakes.clock import ManualClock

leaks.watch_tasks()


@pytest.fixture(scope="session", autouse=True)
def no_leaks_in_all() -> Iterator[None]:
    """Nothing that a module's or the session's fixtures started outlives the run."""
    yield from _guard()


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    """No new thread, process or asyncio task is left after a test."""
    yield from _guard()


def _guard() -> Iterator[None]:
    leaks.take_tasks()
    threads, processes = leaks.threads(), leaks.processes()
    yield
    left = [*leaks.take_tasks(), *leaks.lingering_threads(threads), *leaks.lingering_processes(processes)]
    if left:
        pytest.fail("left behind: " + "; ".join(left), pytrace=False)


@pytest.fixture
def manual_clock() -> ManualClock:
    """A clock that moves only by ``advance``."""
    return ManualClock()


@pytest.fixture
def state_folder(tmp_path: Path) -> Path:
    """An empty folder that only we may read, as systemd's StateDirectory is."""
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    return folder
