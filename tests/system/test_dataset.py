# SPDX-License-Identifier: Apache-2.0
"""Datasets on a booted machine: root's commands run the snapshot program in its unit's sandbox."""

import json

import pytest

from tests.system.clinic import Clinic

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def site(clinic: Clinic) -> Clinic:
    clinic.configure()
    return clinic


def test_data_below_a_home_folder_become_a_snapshot_that_only_the_trainer_reads(site: Clinic) -> None:
    machine = site.machine
    rows = "".join(f"p{number},{number}\n" for number in range(30))
    machine.write("/home/registry/heart.csv", f"patient,age\n{rows}")
    machine.run(
        "fedagent", "dataset", "add", "heart", "--csv", "/home/registry/heart.csv", "--patient", "patient"
    )
    made = json.loads(machine.run("fedagent", "dataset", "snapshot", "heart", "--json"))
    assert (made["rows"], made["patients"], made["changed"]) == (30, 30, True)
    again = json.loads(machine.run("fedagent", "dataset", "snapshot", "heart", "--json"))
    assert (again["digest"], again["changed"]) == (made["digest"], False)
    machine.run("systemctl", "start", "fedagent-snapshot@heart.service")
    (listed,) = json.loads(machine.run("fedagent", "dataset", "list", "--json"))
    assert (listed["dataset"], listed["problem"]) == ("heart", None)
    assert (
        machine.run("stat", "--format=%U %a", "/var/lib/fedagent-trainer").strip() == "fedagent-trainer 700"
    )


def test_what_is_wrong_with_a_dataset_is_said_by_the_command(site: Clinic) -> None:
    refused = site.machine.attempt("fedagent", "dataset", "snapshot", "nothing")
    assert refused.returncode == 78
    assert "/etc/fedagent/datasets.d/nothing.toml" in refused.stderr
