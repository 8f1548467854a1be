# SPDX-License-Identifier: Apache-2.0
"""What every test has: a guard against leaks, a clock to turn by hand, a private state folder."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir

from tests.fakes import leaks
from tests.fakes.clock import ManualClock

leaks.watch_tasks()
set_hypothesis_home_dir(Path(__file__).parents[1] / "build" / "hypothesis")
# No deadline: a busy machine is no failure. In CI the same examples each time, so that a red run is red again.
settings.register_profile("fedagent", deadline=None, derandomize="CI" in os.environ, print_blob=True)
settings.load_profile("fedagent")


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
