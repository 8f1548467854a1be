# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from fedagent.trainer.watch import KernelKills, Watch, is_paused, parse_kills


def watch(now: float = 0.0) -> Watch:
    made = Watch(step_limit_s=10.0, load_limit_s=30.0)
    made.begin(now)
    return made


def looks(made: Watch, begin: int, end: int, *, paused: bool = False) -> list[str]:
    """What it says when it looks each second."""
    found = [made.look(float(second), paused=paused) for second in range(begin + 1, end + 1)]
    return [str(each).partition(";")[0] for each in found if each is not None]


def test_what_comes_before_the_first_step_has_its_own_limit() -> None:
    made = watch()
    assert looks(made, 0, 30) == []
    assert looks(made, 30, 31) == ["the first step was not begun in 30 s"]


def test_a_step_that_does_not_end_is_told_by_its_number() -> None:
    made = watch()
    assert looks(made, 0, 25) == []
    made.moved(6)
    assert looks(made, 25, 35) == []
    assert looks(made, 35, 36) == ["step 7 did not end in 10 s"]


def test_every_further_step_begins_anew_and_a_repeated_one_does_not() -> None:
    made = watch()
    for second in range(0, 100, 9):
        made.moved(second)
        assert looks(made, second, second + 9) == []
    made.moved(99)
    assert looks(made, 99, 109) == []
    made.moved(99)
    assert looks(made, 109, 110)


def test_a_pause_does_not_count_nor_does_the_second_in_which_it_began_or_ended() -> None:
    made = watch()
    made.moved(1)
    assert looks(made, 0, 10) == []
    assert looks(made, 10, 1000, paused=True) == []
    assert made.look(1001.0, paused=False) is None
    assert made.look(1002.0, paused=False) is not None


def test_time_in_which_the_supervisor_itself_was_held_up_does_not_count() -> None:
    made = watch()
    made.moved(1)
    assert made.look(5000.0, paused=False) is None
    assert made.look(9000.0, paused=False) is None


def test_another_job_begins_anew() -> None:
    made = watch()
    made.moved(500)
    assert looks(made, 0, 10) == []
    made.begin(10.0)
    assert looks(made, 10, 40) == []
    made.moved(0)
    assert looks(made, 40, 50) == []


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("low 0\nhigh 0\nmax 7\noom 3\noom_kill 2\noom_group_kill 1\n", 2),
        ("nr_free_pages 17\noom_kill 0\n", 0),
        ("nr_free_pages 17\n", 0),
    ],
    ids=["memory.events", "vmstat", "an old kernel"],
)
def test_the_kernels_kills_are_counted(text: str, count: int) -> None:
    assert parse_kills(text) == count


def test_our_own_cgroup_counts_where_it_can(tmp_path: Path) -> None:
    (tmp_path / "vmstat").write_text("oom_kill 9\n")
    assert KernelKills(None, tmp_path).count() == 9
    assert KernelKills(tmp_path, tmp_path).count() == 9
    (tmp_path / "memory.events").write_text("oom_kill 4\n")
    assert KernelKills(tmp_path, tmp_path).count() == 4
    assert KernelKills(None).count() >= 0


@pytest.mark.parametrize(
    ("stat", "paused"),
    [
        ("17 (python3) T 1 17 17", True),
        ("17 (python3) t 1 17 17", True),
        ("17 (a) T (b) R 1 17 17", False),
        ("17 (python3) D 1 17 17", False),
        ("", False),
    ],
    ids=["stopped", "traced", "a strange name", "waits for a disk", "gone"],
)
def test_a_stopped_process_is_told_from_one_that_works(stat: str, paused: bool) -> None:
    assert is_paused(stat) is paused
