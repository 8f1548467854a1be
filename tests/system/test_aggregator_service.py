# SPDX-License-Identifier: Apache-2.0
"""The aggregator as a service of a booted machine: start, status, faults, end. No broker runs: nothing here needs one."""

import pytest

from tests.system.clinic import CENTRE, Clinic

pytestmark = pytest.mark.timeout(900)

UNIT = "fedaggregator.service"
CONFIG = f"{CENTRE}/fedaggregator.toml"


@pytest.fixture(scope="module")
def founded(clinic: Clinic) -> str:
    """The settings that ``fedaggregator init`` wrote; faults are answered sooner than on a centre's machine."""
    clinic.found_centre()
    clinic.machine.write(
        f"/etc/systemd/system/{UNIT}.d/sooner.conf",
        "[Service]\nRestartSec=200ms\nWatchdogSec=3s\n[Unit]\nStartLimitIntervalSec=0\n",
    )
    clinic.machine.run("systemctl", "daemon-reload")
    return clinic.machine.read(CONFIG)


@pytest.fixture
def centre(clinic: Clinic, founded: str) -> Clinic:
    """The aggregator runs with its own settings, whatever the test before left."""
    machine = clinic.machine
    machine.write(CONFIG, founded)
    machine.attempt("systemctl", "stop", UNIT)
    machine.attempt("systemctl", "reset-failed", UNIT)
    machine.run("systemctl", "start", UNIT)
    return clinic


def test_it_is_ready_without_a_broker_and_says_so(centre: Clinic) -> None:
    assert centre.machine.show(UNIT, "ActiveState") == "active"
    centre.machine.wait("the status", lambda: "not connected" in centre.machine.show(UNIT, "StatusText"))


def test_not_configured_is_skipped_and_not_failed(centre: Clinic) -> None:
    machine = centre.machine
    machine.run("systemctl", "stop", UNIT)
    (machine.root / CONFIG.lstrip("/")).unlink()
    machine.run("systemctl", "start", UNIT)
    assert (machine.show(UNIT, "ActiveState"), machine.show(UNIT, "ConditionResult")) == ("inactive", "no")
    assert centre.failed() == ""


def test_a_wrong_file_is_not_tried_again(centre: Clinic) -> None:
    machine = centre.machine
    machine.write(CONFIG, "nonsense = 1\n")
    assert machine.attempt("systemctl", "restart", UNIT).returncode != 0
    machine.wait_state(UNIT, "failed")
    assert (machine.show(UNIT, "ExecMainStatus"), machine.show(UNIT, "NRestarts")) == ("78", "0")


@pytest.mark.parametrize("number", ["KILL", "STOP", "HUP"])
def test_one_that_was_killed_or_hangs_is_started_again(centre: Clinic, number: str) -> None:
    machine, process = centre.machine, centre.machine.show(UNIT, "MainPID")
    machine.run("systemctl", "kill", f"--signal={number}", "--kill-who=main", UNIT)
    machine.wait("another process", lambda: machine.show(UNIT, "MainPID") not in {process, "0"})
    machine.wait_state(UNIT, "active")


def test_it_ends_in_order(centre: Clinic) -> None:
    machine = centre.machine
    machine.run("systemctl", "stop", UNIT)
    assert (machine.show(UNIT, "Result"), machine.show(UNIT, "ExecMainStatus")) == ("success", "0")
    assert machine.attempt("test", "-e", "/run/fedaggregator").returncode != 0
    assert centre.failed() == ""
