# SPDX-License-Identifier: Apache-2.0
import os
from datetime import datetime
from pathlib import Path

import pytest

from fedagent.core.facts import Instant
from fedagent.host.sampler import Sampler
from tests.fakes.host import FakeHost

NEAR = 0.05
"""The test's own process is the daemon here, and works a little between two looks."""


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path, cpus=4)


@pytest.fixture
def sampler(host: FakeHost) -> Sampler:
    """It has looked once, at second 0."""
    sampler = Sampler(host.root, (host.root,))
    sampler.sample(at(0))
    return sampler


def at(seconds: float) -> Instant:
    return Instant(1000.0 + seconds, 1_750_000_000.0 + seconds)


def test_a_sample_has_time_memory_and_cpus(sampler: Sampler) -> None:
    seen = sampler.sample(at(10))
    local = datetime.fromtimestamp(at(10).wall).astimezone()
    assert (seen.taken_at, seen.cpu_count, seen.memory_available_mib) == (1010.0, 4, 8192)
    assert (seen.weekday, seen.minute) == (local.weekday(), local.hour * 60 + local.minute)


def test_the_first_look_knows_no_rate(host: FakeHost) -> None:
    assert Sampler(host.root, (host.root,)).sample(at(0)).cpu_others_ratio is None


def test_the_work_of_others_is_a_share_of_all_cpus(host: FakeHost, sampler: Sampler) -> None:
    host.worked(10.0)
    assert sampler.sample(at(10)).cpu_others_ratio == pytest.approx(0.25, abs=NEAR)
    host.worked(30.0)
    assert sampler.sample(at(20)).cpu_others_ratio == pytest.approx(0.5, abs=NEAR)


def test_what_the_trainers_slice_works_is_ours(host: FakeHost, sampler: Sampler) -> None:
    host.slice(0.0)
    sampler.sample(at(1))
    host.worked(30.0)
    host.slice(20.0)
    assert sampler.sample(at(11)).cpu_others_ratio == pytest.approx(0.25, abs=NEAR)


def test_what_a_child_works_is_ours_from_its_first_second(host: FakeHost, sampler: Sampler) -> None:
    host.worked(20.0)
    host.process(11, os.getpid(), 8.0)
    host.process(12, 11, 12.0)
    assert sampler.sample(at(10)).cpu_others_ratio == pytest.approx(0.0, abs=NEAR)
    host.worked(30.0)
    host.process(12, 11, 22.0)
    assert sampler.sample(at(20)).cpu_others_ratio == pytest.approx(0.0, abs=NEAR)


def test_a_child_that_ended_takes_nothing_back(host: FakeHost, sampler: Sampler) -> None:
    host.process(11, os.getpid(), 8.0)
    sampler.sample(at(1))
    host.remove("proc/11/stat")
    host.worked(10.0)
    assert sampler.sample(at(11)).cpu_others_ratio == pytest.approx(0.25, abs=NEAR)


@pytest.mark.parametrize(("worked", "ratio"), [(1000.0, 1.0), (0.0, 0.0)])
def test_the_share_lies_between_nothing_and_all(
    host: FakeHost, sampler: Sampler, worked: float, ratio: float
) -> None:
    host.slice(5.0)
    host.worked(worked)
    assert sampler.sample(at(10)).cpu_others_ratio == ratio


def test_two_looks_at_the_same_moment_know_no_rate(sampler: Sampler) -> None:
    assert sampler.sample(at(0)).cpu_others_ratio is None


def test_a_reader_that_fails_knows_nothing_and_recovers(host: FakeHost, sampler: Sampler) -> None:
    host.remove("proc/stat")
    host.remove("proc/meminfo")
    blind = sampler.sample(at(5))
    assert (blind.cpu_others_ratio, blind.memory_available_mib, blind.cpu_count) == (None, None, 1)
    host.worked(10.0)
    assert sampler.sample(at(10)).cpu_others_ratio == pytest.approx(0.25, abs=NEAR)
