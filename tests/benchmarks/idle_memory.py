# SPDX-License-Identifier: Apache-2.0
"""What the daemons cost while nothing happens: memory and CPU of site daemon and aggregator, before and after a study.

Run: ``python tests/benchmarks/idle_memory.py [--seconds 20] [--settle 5] [--json]``. One hospital, no trainer alive
while it is measured. Goals for the site daemon: 56 MiB resident, of which 36 MiB private anonymous; 0.1 % of one CPU.

Rule: broker, aggregator and daemon are the product's own, as separate processes; the numbers are the kernel's.
"""

import argparse
import json
import os
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Final, NamedTuple

import tomli_w

from fedagent.demo.broker import find_mosquitto
from fedagent.demo.federation import Federation, template
from fedagent.demo.hospital import Hospital
from fedagent.demo.show import DATA, dataset_of
from fedagent.demo.split import split_hospitals

NAME: Final = "clinic"
ROUNDS: Final = 3
LIMIT_S: Final = 120.0
KEEP_WARM_S: Final = 1.0
"""How long the trainer stays after its last job: shorter than the default, for a benchmark has no ten minutes."""


class Cost(NamedTuple):
    """One process while it is idle.

    Attributes:
        resident_mib: VmRSS of proc_pid_status(5).
        anonymous_mib: ``Anonymous`` of ``/proc/PID/smaps_rollup``: what no other process shares and no file backs.
        cpu_ratio: share of one CPU, all threads, by the scheduler's nanoseconds.
    """

    when: str
    process: str
    resident_mib: float
    anonymous_mib: float
    cpu_ratio: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table (or JSON); exit code 0."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long the CPU is watched")
    parser.add_argument("--settle", type=float, default=5.0, help="how long nothing happens before that")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="fedagent-idle-") as name:
        costs = list(measure(Path(name), settle_s=options.settle, seconds=options.seconds))
    if options.json:
        sys.stdout.write(json.dumps([each._asdict() for each in costs], indent=2) + "\n")
    else:
        sys.stdout.writelines(f"{line}\n" for line in table(costs))
    return 0


def measure(folder: Path, *, settle_s: float, seconds: float) -> Iterator[Cost]:
    """Both daemons connected and idle, then again after a study of three rounds."""
    study = template(DATA / "study.toml", [NAME], rounds=ROUNDS, seed=1)
    (path,) = split_hospitals(DATA / "breast_cancer.csv", folder / "data", names=[NAME], seed=1)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fedagent"
    federation = Federation(folder, find_mosquitto(cache), study)
    with federation.broker, federation.programs:
        aggregator = federation.start_aggregator()
        hospital = federation.add_hospital(NAME, dataset_of(study, path))
        shorten_keep_warm(hospital.config)
        daemon = hospital.start(federation.programs)
        processes = {"site daemon": daemon.pid, "aggregator": aggregator.pid}
        federation.wait("the connection", lambda: idle(hospital), LIMIT_S)
        yield from observe("connected", processes, settle_s, seconds)
        federation.start_study()
        federation.approve_everywhere()
        federation.wait("the end of the study", federation.ended, LIMIT_S)
        federation.wait("the trainer's end", lambda: idle(hospital), LIMIT_S)
        yield from observe(f"after {ROUNDS} rounds", processes, settle_s, seconds)


def shorten_keep_warm(config: Path) -> None:
    """Lets the trainer end soon after its last job."""
    settings = tomllib.loads(config.read_text())
    settings["trainer"]["keep_warm_s"] = KEEP_WARM_S
    config.write_text(tomli_w.dumps(settings))


def idle(hospital: Hospital) -> bool:
    """Whether the daemon is connected and has no trainer."""
    status = hospital.status()
    return status is not None and status.broker.connected and status.trainer.stage == "absent"


def observe(when: str, processes: Mapping[str, int], settle_s: float, seconds: float) -> Iterator[Cost]:
    """What each process holds and uses, over the given time."""
    nothing = Event()
    nothing.wait(settle_s)
    began, before = monotonic(), {name: cpu_s(pid) for name, pid in processes.items()}
    nothing.wait(seconds)
    elapsed = monotonic() - began
    for name, pid in processes.items():
        yield Cost(
            when,
            name,
            mib(Path(f"/proc/{pid}/status"), "VmRSS"),
            mib(Path(f"/proc/{pid}/smaps_rollup"), "Anonymous"),
            (cpu_s(pid) - before[name]) / elapsed,
        )


def cpu_s(pid: int) -> float:
    """CPU seconds of a process's living threads (``/proc/PID/task/TID/schedstat``: finer than the tick of stat)."""
    files = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(each.read_text().split()[0]) for each in files) / 1e9


def mib(file: Path, field: str) -> float:
    """A field in kB of a file in /proc, in MiB."""
    line = next(each for each in file.read_text().splitlines() if each.startswith(f"{field}:"))
    return int(line.split()[1]) / 1024


def table(costs: Sequence[Cost]) -> Iterator[str]:
    """One line a process and moment."""
    yield f"{'':<16}{'process':<14}{'RSS MiB':>9}{'anonymous MiB':>15}{'CPU %':>8}"
    for each in costs:
        yield (
            f"{each.when:<16}{each.process:<14}{each.resident_mib:>9.1f}{each.anonymous_mib:>15.1f}"
            f"{each.cpu_ratio:>8.2%}"
        )


if __name__ == "__main__":
    sys.exit(main())
