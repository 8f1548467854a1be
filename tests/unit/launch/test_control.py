# SPDX-License-Identifier: Apache-2.0
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from fedagent.errors import WireError
from fedagent.launch.control import CgroupControl, GroupControl, control_of
from fedagent.wire.frames import Ready


def ready(control: str, pid: int = 1) -> Ready:
    return Ready(version="1", control=control, supervisor_pid=1, worker_pid=pid, trainer_key=bytes(32))  # type: ignore[arg-type]


def test_the_cgroup_is_written_through_the_open_files(tmp_path: Path) -> None:
    descriptors = [
        os.open(tmp_path / name, os.O_RDWR | os.O_CREAT) for name in ("pidfd", "freeze", "kill", "events")
    ]
    control = control_of(ready("cgroup"), descriptors)
    assert isinstance(control, CgroupControl)
    control.freeze()
    assert (tmp_path / "freeze").read_bytes() == b"1"
    control.thaw()
    assert (tmp_path / "freeze").read_bytes() == b"0"
    control.kill()
    assert (tmp_path / "kill").read_bytes() == b"1"
    control.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptors[1])


def test_the_process_group_is_stopped_continued_and_killed() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], start_new_session=True)
    control = control_of(ready("process-group", child.pid), [os.pidfd_open(child.pid)])
    assert isinstance(control, GroupControl)
    control.freeze()
    _, status = os.waitpid(child.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    control.thaw()
    _, status = os.waitpid(child.pid, os.WCONTINUED)
    assert psutil.Process(child.pid).status() != psutil.STATUS_STOPPED
    control.freeze()
    control.kill()
    assert child.wait(60) == -signal.SIGKILL
    control.freeze()  # reaped: its number may be another's by now, so nothing is sent
    control.close()


@pytest.mark.parametrize(
    ("control", "count"), [("cgroup", 1), ("cgroup", 0), ("process-group", 4), ("process-group", 0)]
)
def test_other_descriptors_than_promised_are_refused_and_closed(control: str, count: int) -> None:
    descriptors = [os.memfd_create("any") for _ in range(count)]
    with pytest.raises(WireError, match=f"{count} descriptors"):
        control_of(ready(control), descriptors)
    for descriptor in descriptors:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)
