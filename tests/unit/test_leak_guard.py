# SPDX-License-Identifier: Apache-2.0
"""The guard itself: what is left behind is found, named and ended."""

import asyncio
import subprocess
import sys
import threading

import psutil

from tests.fakes import leaks


def test_a_thread_left_behind_is_named() -> None:
    before, stop = leaks.threads(), threading.Event()
    thread = threading.Thread(target=stop.wait, name="left-alone")
    thread.start()
    try:
        assert "left-alone" in leaks.lingering_threads(before, grace_s=0.0)[0]
    finally:
        stop.set()
        thread.join()
    assert leaks.lingering_threads(before) == []


def test_a_child_left_behind_is_named_and_killed() -> None:
    before = leaks.processes()
    child = subprocess.Popen(["sleep", "300"])
    assert leaks.lingering_processes(before, grace_s=0.0) == [f"process {child.pid}: sleep 300"]
    assert not psutil.pid_exists(child.pid)
    child.wait()


def test_a_grandchild_whose_parent_died_is_found() -> None:
    before = leaks.processes()
    script = "import subprocess; print(subprocess.Popen(['sleep', '300'], stdout=subprocess.DEVNULL).pid)"
    parent = subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.PIPE, text=True)
    assert leaks.lingering_processes(before, grace_s=0.0) == [f"process {int(parent.stdout)}: sleep 300"]


def test_a_child_that_ends_by_itself_is_no_leak() -> None:
    before = leaks.processes()
    child = subprocess.Popen(["true"])
    child.wait()
    assert leaks.lingering_processes(before) == []


def test_a_task_that_its_loop_had_to_cancel_is_named() -> None:
    async def leave_one() -> None:
        forgotten = asyncio.get_running_loop().create_task(asyncio.Event().wait(), name="forgotten")
        await asyncio.wait([forgotten], timeout=0.0)

    asyncio.run(leave_one())
    assert "forgotten" in leaks.take_tasks()[0]
