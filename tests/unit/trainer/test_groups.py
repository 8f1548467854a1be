# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from fedagent.trainer.groups import WorkGroup, own_cgroup, parse_cgroup, parse_mountinfo

MOUNTS = """\
22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
30 22 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate
"""
HYBRID = """\
30 22 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs ro
31 30 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
32 30 0:28 / /sys/fs/cgroup/unified rw shared:10 master:2 - cgroup2 cgroup2 rw
"""


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("0::/fedagent.slice/fedagent-trainer@1.service\n", "fedagent.slice/fedagent-trainer@1.service"),
        ("5:cpu:/a\n1:name=systemd:/b\n0::/c d\n", "c d"),
        ("0::/\n", None),
        ("5:cpu:/a\n", None),
        ("", None),
    ],
    ids=["v2", "hybrid", "the root is nobody's own", "v1", "empty"],
)
def test_the_own_group_is_the_v2_line(text: str, path: str | None) -> None:
    assert parse_cgroup(text) == path


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (MOUNTS, Path("/sys/fs/cgroup")),
        (HYBRID, Path("/sys/fs/cgroup/unified")),
        (MOUNTS.replace("0:26 /", "0:26 /part"), None),
        ("", None),
    ],
    ids=["v2", "hybrid", "only a part is mounted", "none"],
)
def test_cgroup_v2_is_found_where_it_is_mounted(text: str, path: Path | None) -> None:
    assert parse_mountinfo(text) == path


def test_a_process_without_a_group_of_its_own_has_none(tmp_path: Path) -> None:
    (tmp_path / "cgroup").write_text("0::/a/b\n", encoding="ascii")
    (tmp_path / "mountinfo").write_text(MOUNTS, encoding="ascii")
    assert own_cgroup(tmp_path) == Path("/sys/fs/cgroup/a/b")
    (tmp_path / "mountinfo").write_text("", encoding="ascii")
    assert own_cgroup(tmp_path) is None


def test_a_frozen_group_is_told_from_one_that_runs(tmp_path: Path) -> None:
    group = WorkGroup(tmp_path)
    for text, frozen in (("0\n", False), ("1\n", True)):
        (tmp_path / "work" / "cgroup.freeze").write_text(text, encoding="ascii")
        assert group.frozen() is frozen
    assert group.unit == tmp_path
