# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from fedagent.host import memory
from tests.fakes.host import CAPTURED, FakeHost


def test_a_captured_machine_is_read() -> None:
    text = (CAPTURED / "two-cpus" / "meminfo").read_text()
    assert memory.parse(text) == int(text.split("MemAvailable:")[1].split()[0]) // 1024


@pytest.mark.parametrize(("kib", "mib"), [(0, 0), (1023, 0), (1024, 1), (1_048_575, 1023), (1_048_576, 1024)])
def test_memory_counts_in_whole_mib(kib: int, mib: int) -> None:
    assert memory.parse(f"MemTotal: 9 kB\nMemAvailable: {kib} kB\n") == mib


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("MemTotal: 9 kB\nMemFree: 1 kB\n", id="a kernel that does not say"),
        pytest.param("MemAvailable: much kB\n", id="no number"),
    ],
)
def test_what_does_not_say_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        memory.parse(text)


def test_what_cannot_be_read_is_not_known(tmp_path: Path) -> None:
    assert memory.read(tmp_path) is None
    host = FakeHost(tmp_path)
    assert memory.read(tmp_path) == 8192
    host.write("proc/meminfo", "nonsense")
    assert memory.read(tmp_path) is None


def test_this_machine_can_be_read() -> None:
    available = memory.read(Path("/"))
    assert available is not None
    assert available > 0
