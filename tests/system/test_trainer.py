# SPDX-License-Identifier: Apache-2.0
"""The trainer as systemd starts it: who starts, freezes and ends whom, while a real study trains on the machine."""

from collections.abc import Iterator
from contextlib import suppress

import msgspec
import pytest

from fedagent.demo.federation import template
from fedagent.demo.show import DATA
from fedagent.demo.split import split_hospitals
from fedagent.wire.study import Seconds, Study, TabularClassifier
from tests.system.clinic import Clinic

pytestmark = pytest.mark.timeout(900)

UNIT = "fedagent.service"
WORKER = "work"
"""The cgroup that the supervisor makes for its worker, below the unit's own."""
LONG_S = 3600.0
"""The study's local work: longer than all tests."""


@pytest.fixture(scope="module")
def study() -> Study:
    made = template(DATA / "study.toml", ["clinic"], rounds=1, seed=7)
    assert isinstance(made.task, TabularClassifier)
    return msgspec.structs.replace(made, task=msgspec.structs.replace(made.task, work=Seconds(LONG_S)))


@pytest.fixture(scope="module")
def at_work(clinic: Clinic, study: Study, tmp_path_factory: pytest.TempPathFactory) -> Clinic:
    """A machine with a centre of its own, whose study is approved."""
    clinic.configure()
    clinic.found_centre()
    clinic.join(clinic)
    (table,) = split_hospitals(
        DATA / "breast_cancer.csv", tmp_path_factory.mktemp("data"), names=["clinic"], seed=7
    )
    clinic.add_data(study, table)
    clinic.machine.write(
        "/etc/systemd/system/fedagent.service.d/sooner.conf", "[Service]\nRestartSec=200ms\n[Unit]\nStartLimitIntervalSec=0\n"
    )  # fmt: skip
    clinic.open_centre()
    clinic.start_study(study)
    clinic.machine.run("systemctl", "start", UNIT)
    clinic.approve(study)
    return clinic


@pytest.fixture
def training(at_work: Clinic) -> Iterator[Clinic]:
    """It trains."""
    at_work.machine.run("systemctl", "start", UNIT)
    at_work.machine.wait("training", lambda: at_work.stage() == "busy", 120.0)
    yield at_work
    at_work.machine.attempt("fedagent", "resume")


def group(clinic: Clinic) -> str:
    """The cgroup of the one trainer there is."""
    (unit,) = clinic.trainers()
    return f"/sys/fs/cgroup{clinic.machine.show(unit, 'ControlGroup')}"


def members(clinic: Clinic, part: str) -> list[str]:
    return clinic.machine.run("cat", f"{group(clinic)}/{part}/cgroup.procs").split()


def is_frozen(clinic: Clinic) -> bool:
    return "frozen 1" in clinic.machine.run("cat", f"{group(clinic)}/{WORKER}/cgroup.events")


def test_each_connection_starts_one_trainer_in_the_idle_slice(training: Clinic) -> None:
    assert group(training).startswith("/sys/fs/cgroup/fedagent.slice/fedagent-trainer@")
    (supervisor,), (worker,) = members(training, "main"), members(training, WORKER)
    for process in (supervisor, worker):
        status = training.machine.run("cat", f"/proc/{process}/status")
        (ids,) = (line.split()[1:] for line in status.splitlines() if line.startswith("Uid:"))
        assert set(ids) == {training.machine.run("id", "--user", "fedagent-trainer").strip()}
    # root's: whoever has its user does not look into the supervisor (PR_SET_DUMPABLE)
    assert training.machine.run("stat", "--format=%U", f"/proc/{supervisor}/mem").strip() == "root"


def test_the_worker_is_where_no_network_is(training: Clinic) -> None:
    (worker,) = members(training, WORKER)
    devices = training.machine.run("cat", f"/proc/{worker}/net/dev").splitlines()[2:]
    assert [line.split(":")[0].strip() for line in devices] == ["lo"]


def test_pausing_freezes_the_worker_and_resuming_thaws_it(training: Clinic) -> None:
    worker = members(training, WORKER)
    training.machine.run("fedagent", "pause", "--reason", "the clinic needs the machine")
    training.machine.wait("the freeze", lambda: is_frozen(training), 10.0)
    assert training.stage() == "frozen"
    training.machine.run("fedagent", "resume")
    training.machine.wait("the thaw", lambda: not is_frozen(training), 30.0)
    assert members(training, WORKER) == worker


@pytest.mark.parametrize("frozen", [False, True], ids=["running", "frozen"])
def test_an_agent_that_is_killed_takes_its_trainer_with_it(training: Clinic, frozen: bool) -> None:
    (before,) = training.trainers()
    if frozen:
        training.machine.run("fedagent", "pause")
        training.machine.wait("the freeze", lambda: is_frozen(training), 10.0)
    training.machine.run("systemctl", "kill", "--signal=KILL", "--kill-who=main", UNIT)
    training.machine.wait("the trainer's end", lambda: before not in training.trainers(), 30.0)
    training.machine.wait_state(UNIT, "active")
    training.machine.run("fedagent", "resume")
    training.machine.wait("training again", lambda: training.stage() == "busy", 120.0)
    assert training.trainers() != [before]
    assert training.failed() == ""


def test_a_supervisor_that_is_killed_takes_its_worker_with_it_and_another_goes_on(training: Clinic) -> None:
    before, process = members(training, WORKER), training.machine.show(UNIT, "MainPID")
    (supervisor,) = members(training, "main")
    training.machine.run("sh", "-c", f"kill -KILL {supervisor}")

    def another() -> bool:
        with suppress(AssertionError, ValueError):  # between the two there is none
            return training.stage() == "busy" and members(training, WORKER) not in ([], before)
        return False

    training.machine.wait("another worker", another, 120.0)
    assert training.machine.attempt("test", "-e", f"/proc/{before[0]}").returncode != 0
    assert training.machine.show(UNIT, "MainPID") == process
    assert training.failed() == ""


def test_a_stop_of_the_agent_leaves_nothing(training: Clinic) -> None:
    folder = group(training)
    training.machine.run("systemctl", "stop", UNIT)
    training.machine.wait("the trainer's end", lambda: training.trainers() == [], 10.0)
    assert training.machine.attempt("test", "-e", folder).returncode != 0
    assert training.failed() == ""


def test_a_restart_of_the_socket_leaves_agent_and_trainer_alone(training: Clinic) -> None:
    worker, process = members(training, WORKER), training.machine.show(UNIT, "MainPID")
    training.machine.run("systemctl", "restart", "fedagent-trainer.socket")
    training.machine.run("systemctl", "daemon-reload")
    assert (members(training, WORKER), training.machine.show(UNIT, "MainPID")) == (worker, process)
    assert training.stage() == "busy"


def test_the_socket_survives_a_burst_of_connections(training: Clinic) -> None:
    burst = (
        "import socket\nfor _ in range(100):\n"
        " with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s: s.connect('/run/fedagent-trainer.sock')\n"
    )
    worker = members_of_busy(training)
    training.machine.run("runuser", "-u", "fedagent", "--", "python3", "-c", burst)
    training.machine.wait("the end of the others", lambda: len(training.trainers()) == 1, 60.0)
    assert training.machine.show("fedagent-trainer.socket", "ActiveState") == "active"
    assert members_of_busy(training) == worker
    assert training.failed() == ""


def members_of_busy(clinic: Clinic) -> str:
    return clinic.machine.run("sh", "-c", f"cat /sys/fs/cgroup/fedagent.slice/*/{WORKER}/cgroup.procs")


def test_after_a_power_cut_the_study_goes_on_from_its_checkpoint(training: Clinic, study: Study) -> None:
    training.machine.cut_power()
    training.machine.boot()
    training.machine.run("systemctl", "start", "mosquitto.service")
    training.machine.wait("training", lambda: training.stage() == "busy", 120.0)
    assert training.phase(study) == "training"


def test_without_a_socket_the_agent_says_so_lives_on_and_trains_when_there_is_one(training: Clinic) -> None:
    machine = training.machine
    machine.run("systemctl", "mask", "--runtime", "--now", "fedagent-trainer.socket")
    try:
        machine.run("systemctl", "restart", UNIT)
        machine.wait("the reason", lambda: "no trainer could be started" in journal_of_this_start(training))
        assert machine.show(UNIT, "ActiveState") == "active"
        assert training.trainers() == []
    finally:
        machine.run("systemctl", "unmask", "--runtime", "fedagent-trainer.socket")
    machine.run("systemctl", "start", "fedagent-trainer.socket")
    machine.wait("training", lambda: training.stage() == "busy", 180.0)


def test_a_trainer_that_does_not_come_up_is_said_and_survived(training: Clinic) -> None:
    machine = training.machine
    file = machine.write(
        "/etc/systemd/system/fedagent-trainer@.service.d/broken.conf",
        "[Service]\nExecStart=\nExecStart=/bin/false\n",
    )
    machine.run("systemctl", "daemon-reload")
    try:
        machine.run("systemctl", "restart", UNIT)
        machine.wait("the reason", lambda: "the trainer ended" in journal_of_this_start(training))
        assert machine.show(UNIT, "ActiveState") == "active"
        assert training.failed() == ""
    finally:
        file.unlink()
        machine.run("systemctl", "daemon-reload")
    machine.wait("training", lambda: training.stage() == "busy", 180.0)


def journal_of_this_start(clinic: Clinic) -> str:
    invocation = clinic.machine.show(UNIT, "InvocationID")
    return clinic.machine.journal(f"_SYSTEMD_INVOCATION_ID={invocation}")


def test_the_journal_is_selected_by_study_and_round_and_explains_itself(
    training: Clinic, study: Study
) -> None:
    chosen = ("--unit", UNIT, f"FEDAGENT_STUDY={study.name}", "FEDAGENT_ROUND=1")
    assert f"study {study.name}: round 1 of 1 is open" in training.machine.journal(*chosen)
    assert training.machine.journal("--unit", UNIT, "FEDAGENT_STUDY=another") == ""
    explained = training.machine.journal(*chosen, "--output=short", "--catalog")
    assert "Defined-By: fedagent" in explained
    assert "What is so: " in explained


def test_the_data_are_read_by_the_snapshot_program_alone(training: Clinic) -> None:
    (worker,) = members(training, WORKER)
    seen = f"/proc/{worker}/root"
    as_trainer = ("runuser", "-u", "fedagent-trainer", "--", "cat")
    assert "diagnosis" in training.machine.run(*as_trainer, "/srv/patients.csv")
    for hidden in (
        "/srv/patients.csv",
        "/etc/fedagent/datasets.d/patients.toml",
        "/etc/shadow",
        "/var/lib/fedagent",
    ):
        assert training.machine.attempt("test", "-r", f"{seen}{hidden}").returncode != 0, hidden
    assert training.machine.attempt("test", "-r", f"{seen}/etc/fedagent/ca.crt").returncode == 0
