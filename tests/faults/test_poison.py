# SPDX-License-Identifier: Apache-2.0
"""Jobs that crash, diverge, stand still or eat all memory: each is declined with its reason, and harms no other study."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from fedagent.core.reasons import REASONS as CONDITIONS
from fedagent.demo.processes import call, module
from fedagent.trainer.groups import parse_mountinfo
from fedagent.wire import study as s
from fedagent.wire.messages import Reason
from tests.fakes import poisoned
from tests.faults.arena import AGGREGATOR, LIMIT_S, SITE_PROGRAM, Arena, Prepared, transfer_study
from tests.faults.conftest import Digest

pytestmark = pytest.mark.timeout(240)

GOOD = transfer_study("north", "south", rounds=3, parameters=80_000, chunk_bytes=65_536)
VICTIM = "north"
MEMORY_BYTES = 1 << 30
LOAD_LIMIT_S = 6.0
"""So long an endless job is watched; a busy machine must not take that long for one that ends."""

REASONS = {
    "crash": (Reason.CRASHED, "tried 2 times: the worker crashed (exit status 70)"),
    "nan": (Reason.NOT_FINITE, "tried 2 times: "),
    "memory": (Reason.OUT_OF_MEMORY, "tried 2 times: the training got no more memory (MemoryError at "),
    "endless": (Reason.STUCK, "tried 2 times: the first step was not begun in 6 s"),
    "asleep": (Reason.STUCK, "tried 2 times: the first step was not begun in 6 s"),
}


@pytest.fixture
def memory_group() -> Iterator[Path]:
    """A cgroup in which the kernel gives no more memory than ``MEMORY_BYTES``; version 2, else 1."""
    with contextlib.ExitStack() as stack:
        try:
            yield stack.enter_context(_memory_group())
        except OSError as error:
            pytest.skip(f"no cgroup with a limit of memory can be made here: {error}")


@contextlib.contextmanager
def _memory_group() -> Iterator[Path]:
    mounted = parse_mountinfo(Path("/proc/self/mountinfo").read_text(encoding="utf-8"))
    root, limit = (
        (mounted, "memory.max")
        if mounted is not None and "memory" in (mounted / "cgroup.subtree_control").read_text().split()
        else (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes")
    )
    group = root / f"fedagent-test-{os.getpid()}"
    group.mkdir()
    try:
        (group / limit).write_text(str(MEMORY_BYTES))
        yield group
    finally:
        group.rmdir()


def poison(name: str) -> s.Study:
    """A study of the victim alone, whose task does what its name says."""
    study = transfer_study(VICTIM, rounds=1, parameters=1000, chunk_bytes=65_536)
    return msgspec.structs.replace(study, name=f"poison-{name}")


def run_poisoned(
    arena: Arena, *poisons: str, prefix: tuple[str, ...] = (), load_limit_s: float = LOAD_LIMIT_S
) -> None:
    """Everything runs, and every poisonous study is declined."""
    arena.configure(VICTIM, "trainer", step_limit_s=LOAD_LIMIT_S, load_limit_s=load_limit_s)
    names = [f"poison-{each}" for each in poisons]
    for each in poisons:
        arena.add_study(poison(each))
    hospital = arena.hospital(VICTIM)
    site = [poisoned.__file__, "site", "run", "--config", str(hospital.config)]
    arena.launch(AGGREGATOR)
    arena.launch("south")
    arena.programs.start(VICTIM, [*prefix, *module(SITE_PROGRAM)[:1], *site], hospital.log)

    def all_declined() -> bool:
        status = hospital.status()
        phases = {each.study: each.phase for each in status.studies} if status else {}
        return all(phases.get(name) == "declined" for name in names)

    arena.wait("the end of every poisonous job", all_declined, LIMIT_S)


def jobs(arena: Arena) -> dict[str, int]:
    """How often the victim's worker was given each study's job."""
    lines = (arena.hospital(VICTIM).folder / "trainer" / poisoned.LOG).read_text().splitlines()
    return {name: lines.count(name) for name in set(lines)}


def said_at_the_site(arena: Arena) -> str:
    return call(module(SITE_PROGRAM, "status", "--config", str(arena.hospital(VICTIM).config)))


def block(status: str, name: str) -> str:
    """What is said of this study."""
    return status.partition(f"study       poison-{name}")[2].partition("\n\n")[0]


def test_every_poisonous_job_is_declined_with_its_reason_and_the_other_study_goes_on(
    tmp_path: Path, prepared: Prepared, undisturbed: Digest
) -> None:
    expected = undisturbed(GOOD)
    arena = Arena(prepared, tmp_path, GOOD)
    with arena.running():
        run_poisoned(arena, *REASONS)
        assert arena.final_model() == expected
        site, centre = said_at_the_site(arena), arena.fedaggregator("study", "status")
    for name, (reason, text) in REASONS.items():
        assert text in block(site, name)
        assert f"[{CONDITIONS[Reason(reason)].code}]" in block(centre, name)
    assert {name: number for name, number in jobs(arena).items() if name != GOOD.name} == {
        f"poison-{name}": 2 for name in REASONS
    }


def test_a_worker_that_the_kernel_kills_for_memory_twice_is_declined_for_that(
    tmp_path: Path, prepared: Prepared, undisturbed: Digest, memory_group: Path
) -> None:
    expected = undisturbed(GOOD)
    arena = Arena(prepared, tmp_path, GOOD)
    confined = ("sh", "-c", f'echo $$ > {memory_group}/cgroup.procs && exec "$0" "$@"')
    with arena.running():
        run_poisoned(arena, "hog", prefix=confined, load_limit_s=LIMIT_S)
        assert arena.final_model() == expected
        site, centre = said_at_the_site(arena), arena.fedaggregator("study", "status", "poison-hog")
    assert "tried 2 times: the kernel killed the worker: no memory was left for it" in site
    assert f"[{CONDITIONS[Reason.OUT_OF_MEMORY].code}]" in centre
    assert jobs(arena)["poison-hog"] == 2
