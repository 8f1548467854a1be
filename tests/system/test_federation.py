# SPDX-License-Identifier: Apache-2.0
"""A whole study under systemd: two hospitals' machines and a centre, every part in its sandbox, to the model that processes
without systemd give.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fedagent.demo.federation import template
from fedagent.demo.show import DATA
from fedagent.demo.split import split_hospitals
from fedagent.wire.study import Study
from tests.system.clinic import Clinic
from tests.system.conftest import boot

pytestmark = pytest.mark.timeout(900)

NAMES = ("hospital-1", "hospital-2")
ROUNDS, SEED = 3, 7
MODEL = "/var/tmp/model.safetensors"


@pytest.fixture
def network(base: Path) -> Iterator[str]:
    """A loopback that the machines share, and nothing else."""
    name = f"fedagent-{os.getpid()}"
    made = subprocess.run(
        ["ip", "netns", "add", name], capture_output=True, text=True, timeout=60, check=False
    )
    if made.returncode:
        pytest.skip(f"no network namespace can be made: {made.stderr.strip()}")
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True, timeout=60)
        yield f"/run/netns/{name}"
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True, timeout=60)


@pytest.fixture
def hospitals(base: Path, network: str) -> Iterator[list[Clinic]]:
    """Two machines; the first is the centre's, too."""
    with ExitStack() as stack:
        yield [boot(stack, base, name, network) for name in NAMES]


def test_a_study_under_systemd_ends_with_the_model_of_the_demonstration(
    hospitals: list[Clinic], tmp_path: Path
) -> None:
    centre = hospitals[0]
    wanted = demonstration(centre)
    study = template(DATA / "study.toml", NAMES, rounds=ROUNDS, seed=SEED)
    tables = split_hospitals(DATA / "breast_cancer.csv", tmp_path, names=NAMES, seed=SEED)
    centre.found_centre()
    centre.open_centre()
    for hospital, table in zip(hospitals, tables, strict=True):
        hospital.configure()
        hospital.join(centre)
        hospital.add_data(study, table)
        hospital.machine.run("systemctl", "start", "fedagent.service")
    centre.start_study(study)
    for hospital in hospitals:
        hospital.approve(study)
    for hospital in hospitals:
        wait_for_end(hospital, study)
    centre.machine.run("fedaggregator", "model", "export", study.name, MODEL)
    assert centre.machine.run("sha256sum", MODEL).split()[0] == wanted
    assert [hospital.failed() for hospital in hospitals] == ["", ""]
    assert "Traceback" not in "".join(hospital.machine.journal() for hospital in hospitals)


def demonstration(clinic: Clinic) -> str:
    """The digest of the model that the same study gives as plain processes, on the same machine."""
    words = (
        "--sites",
        str(len(NAMES)),
        "--rounds",
        str(ROUNDS),
        "--seed",
        str(SEED),
        "--cache",
        "/var/tmp/demo",
    )
    printed = clinic.machine.run("fedagent", "demo", *words, "--json", limit_s=300.0)
    digest: str = json.loads(printed)["model_digest"]
    return digest


def wait_for_end(hospital: Clinic, study: Study) -> None:
    hospital.machine.wait("the study's end", lambda: hospital.phase(study) == "ended", 240.0)
