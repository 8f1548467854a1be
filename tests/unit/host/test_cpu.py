# SPDX-License-Identifier: Apache-2.0
import os
from pathlib import Path

import pytest

from fedagent.host import cpu
from tests.fakes.host import CAPTURED, TICKS_A_SECOND, FakeHost


def test_a_captured_machine_is_read() -> None:
    text = (CAPTURED / "two-cpus" / "stat").read_text()
    user, nice, system, _, _, irq, softirq = map(int, text.split()[1:8])
    times = cpu.parse(text)
    assert times == cpu.CpuTimes((user + nice + system + irq + softirq) / TICKS_A_SECOND, 2)


def test_idle_waiting_stolen_and_guest_time_is_not_work() -> None:
    assert cpu.parse("cpu  1 2 4 1000 2000 8 16 4000 8000 9000\ncpu0 0\n").busy_s == 31 / TICKS_A_SECOND


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("\n", id="an empty line"),
        pytest.param("intr 1 2 3\n", id="no cpu line"),
        pytest.param("cpu0 1 2 3 4 5 6 7\n", id="no line for the whole machine"),
        pytest.param("cpu  1 2 3\n", id="cut short"),
        pytest.param("cpu  a b c d e f g\n", id="no numbers"),
    ],
)
def test_what_is_no_stat_file_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        cpu.parse(text)


def test_a_machine_has_one_cpu_at_least() -> None:
    assert cpu.parse("cpu  1 2 3 4 5 6 7\n").count == 1


def test_a_captured_process_is_read() -> None:
    text = (CAPTURED / "two-cpus" / "process-stat").read_text()
    assert cpu.parse_process(text) == (int(text.split()[13]) + int(text.split()[14])) / TICKS_A_SECOND


def test_a_process_may_be_called_anything() -> None:
    text = "7 (a) R (1 2) S 1 7 7 0 -1 0 0 0 0 0 300 200 0 0 20 0 1 0 5 0 0"
    assert cpu.parse_process(text) == 500 / TICKS_A_SECOND


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("usage_usec 1500000\nuser_usec 1\n", 1.5), ("nr_periods 0\nusage_usec 0\n", 0.0)],
)
def test_a_control_group_is_read(text: str, seconds: float) -> None:
    assert cpu.parse_cgroup(text) == seconds


@pytest.mark.parametrize("text", ["", "user_usec 5\n", "usage_usec many\n"])
def test_what_is_no_cpu_stat_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        cpu.parse_cgroup(text)


def test_what_cannot_be_read_is_not_known(tmp_path: Path) -> None:
    assert cpu.read(tmp_path) is None
    host = FakeHost(tmp_path)
    assert cpu.read(tmp_path) == cpu.CpuTimes(0.0, 4)
    host.write("proc/stat", "nonsense")
    assert cpu.read(tmp_path) is None


def test_ours_are_the_daemon_its_descendants_and_the_slice(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    assert cpu.read_own(tmp_path).keys() == {"daemon"}
    host.process(11, os.getpid(), 1.5)
    host.process(12, 11, 2.5)
    host.process(13, 11, 0.5)
    host.slice(4.0)
    own = cpu.read_own(tmp_path)
    assert own["daemon"] > 0.0
    assert {part: used for part, used in own.items() if part != "daemon"} == {
        "11": 1.5,
        "12": 2.5,
        "13": 0.5,
        "slice": 4.0,
    }


def test_a_child_that_ended_meanwhile_is_left_out(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    host.process(11, os.getpid(), 1.5)
    host.process(12, os.getpid(), 2.5)
    host.remove("proc/11/stat")
    assert cpu.read_own(tmp_path).keys() == {"daemon", "12"}


def test_a_slice_that_says_nothing_is_left_out(tmp_path: Path) -> None:
    FakeHost(tmp_path).write("sys/fs/cgroup/fedagent.slice/cpu.stat", "")
    assert cpu.read_own(tmp_path).keys() == {"daemon"}


def test_this_machine_can_be_read() -> None:
    times = cpu.read(Path("/"))
    assert times is not None
    assert times.busy_s > 0.0
