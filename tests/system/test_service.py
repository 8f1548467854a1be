# SPDX-License-Identifier: Apache-2.0
"""The agent as a service of a booted machine: start, status, reload, faults, end. No broker runs: nothing here needs one."""

import os
from pathlib import Path

import pytest

from tests.system.clinic import CONFIG, Clinic

pytestmark = pytest.mark.timeout(900)  # the first test may have to make the root file system

UNIT = "fedagent.service"


@pytest.fixture(scope="module")
def joined(clinic: Clinic) -> Clinic:
    """Has its certificate; faults are answered sooner than on a clinic's machine."""
    clinic.configure()
    clinic.found_centre()
    clinic.join(clinic)
    clinic.machine.write(
        "/etc/systemd/system/fedagent.service.d/sooner.conf",
        "[Service]\nRestartSec=200ms\nWatchdogSec=3s\n[Unit]\nStartLimitIntervalSec=0\n",
    )
    clinic.machine.run("systemctl", "daemon-reload")
    return clinic


@pytest.fixture
def agent(joined: Clinic) -> Clinic:
    """The agent runs with the settings of this test file, whatever the test before left."""
    joined.configure()
    machine = joined.machine
    machine.attempt("systemctl", "stop", UNIT)
    machine.attempt("systemctl", "reset-failed", UNIT)
    machine.run("systemctl", "start", UNIT)
    return joined


def status_text(agent: Clinic) -> str:
    return agent.machine.show(UNIT, "StatusText")


def test_it_is_ready_without_a_network_and_says_how_it_is(agent: Clinic) -> None:
    assert agent.machine.show(UNIT, "ActiveState") == "active"
    assert agent.status().site == "clinic"
    agent.machine.wait("the verdict", lambda: status_text(agent) == "idle, 0 studies")


def test_not_configured_is_skipped_and_not_failed(agent: Clinic) -> None:
    machine = agent.machine
    machine.run("systemctl", "stop", UNIT)
    (machine.root / CONFIG.lstrip("/")).unlink()
    machine.run("systemctl", "start", UNIT)
    assert machine.show(UNIT, "ActiveState") == "inactive"
    assert machine.show(UNIT, "ConditionResult") == "no"
    assert agent.failed() == ""


def test_a_wrong_file_is_not_tried_again(agent: Clinic) -> None:
    machine = agent.machine
    agent.configure(cpu_leave_ratio=7)
    assert machine.attempt("systemctl", "restart", UNIT).returncode != 0
    machine.wait_state(UNIT, "failed")
    assert machine.show(UNIT, "ExecMainStatus") == "78"
    assert machine.show(UNIT, "NRestarts") == "0"
    assert "governor.cpu_leave_ratio" in machine.journal("--unit", UNIT, "--lines=20")


def test_a_reload_takes_the_new_settings(agent: Clinic) -> None:
    process = agent.machine.show(UNIT, "MainPID")
    agent.configure(memory_available_mib=100_000_000)
    agent.machine.run("systemctl", "reload", UNIT)
    agent.machine.wait("the new verdict", lambda: "memory" in status_text(agent))
    assert agent.machine.show(UNIT, "MainPID") == process


def test_a_reload_with_a_wrong_file_fails_and_changes_nothing(agent: Clinic) -> None:
    machine, process = agent.machine, agent.machine.show(UNIT, "MainPID")
    agent.configure(cpu_leave_ratio=7)
    assert machine.attempt("systemctl", "reload", UNIT).returncode != 0
    assert (machine.show(UNIT, "ActiveState"), machine.show(UNIT, "MainPID")) == ("active", process)
    machine.run("systemctl", "kill", "--signal=HUP", "--kill-who=main", UNIT)
    machine.wait(
        "the refusal",
        lambda: "the settings stay as they were" in machine.journal("--unit", UNIT, "--lines=20"),
    )
    assert (machine.show(UNIT, "ActiveState"), machine.show(UNIT, "MainPID")) == ("active", process)


def test_an_agent_whose_consumer_is_stuck_is_started_again(agent: Clinic) -> None:
    machine, process = agent.machine, agent.machine.show(UNIT, "MainPID")
    writer = block_consumer(agent, machine.root / "etc/fedagent/fedagent.d/stuck.toml")
    try:
        machine.wait("another process", lambda: machine.show(UNIT, "MainPID") not in {process, "0"}, 60.0)
    finally:
        os.close(writer)
    machine.wait_state(UNIT, "active")
    assert int(machine.show(UNIT, "NRestarts")) >= 1
    assert "Watchdog timeout" in machine.journal("--unit", UNIT, "--lines=50")
    assert agent.status().site == "clinic"


def block_consumer(agent: Clinic, pipe: Path) -> int:
    """The agent reads its settings anew, from a pipe into which nobody writes; gives the pipe's other end."""
    os.mkfifo(pipe, 0o644)
    agent.machine.run("systemctl", "kill", "--signal=HUP", "--kill-who=main", UNIT)
    writers: list[int] = []

    def reads() -> bool:
        try:
            writers.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:  # ENXIO: nobody reads yet
            return False
        return True

    agent.machine.wait("the agent at the pipe", reads)
    pipe.unlink()
    return writers[0]


def test_a_killed_agent_is_started_again(agent: Clinic) -> None:
    machine, process = agent.machine, agent.machine.show(UNIT, "MainPID")
    machine.run("systemctl", "kill", "--signal=KILL", "--kill-who=main", UNIT)
    machine.wait("another process", lambda: machine.show(UNIT, "MainPID") not in {process, "0"})
    machine.wait_state(UNIT, "active")


def test_it_ends_in_order_and_nobody_can_start_a_trainer_then(agent: Clinic) -> None:
    machine = agent.machine
    assert (machine.root / "run").exists()
    machine.run("systemctl", "stop", UNIT)
    assert machine.show(UNIT, "Result") == "success"
    assert machine.show("fedagent-trainer.socket", "ActiveState") == "inactive"
    assert machine.attempt("test", "-e", "/run/fedagent-trainer.sock").returncode != 0
    assert machine.attempt("test", "-e", "/run/fedagent").returncode != 0
    assert agent.failed() == ""
    machine.run("systemctl", "start", UNIT)
    assert machine.show("fedagent-trainer.socket", "ActiveState") == "active"


def test_an_agent_that_is_started_again_and_again_keeps_its_socket(agent: Clinic) -> None:
    for _ in range(7):  # systemd's default limit is 5 in 10 s
        agent.machine.run("systemctl", "restart", UNIT)
    assert agent.machine.show("fedagent-trainer.socket", "ActiveState") == "active"


def test_it_comes_up_with_the_machine(agent: Clinic) -> None:
    agent.machine.power_off()
    agent.machine.boot()
    agent.machine.wait_state(UNIT, "active")
    assert agent.status().site == "clinic"


def test_only_root_and_the_agent_reach_the_trainer_s_socket(agent: Clinic) -> None:
    knock = "import socket; socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).connect('/run/fedagent-trainer.sock')"
    for user in ("nobody", "fedagent-trainer"):
        refused = agent.machine.attempt("runuser", "-u", user, "--", "python3", "-c", knock)
        assert "PermissionError" in refused.stderr, user


def test_everybody_reads_the_status_and_only_administrators_pause(agent: Clinic) -> None:
    as_nobody = ("runuser", "-u", "nobody", "--")
    assert "clinic" in agent.machine.run(*as_nobody, "fedagent", "status")
    refused = agent.machine.attempt(*as_nobody, "fedagent", "pause")
    assert refused.returncode == 1
    assert "fedagent-admin" in refused.stderr
