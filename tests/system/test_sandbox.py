# SPDX-License-Identifier: Apache-2.0
"""What a process can do in each unit's sandbox, tried from inside it on a booted machine.

Rule: the lists are whole. What is in one must work, and whatever else the probe tries must not.
"""

import json

import pytest

from tests.system.clinic import Clinic
from tests.system.product import INTERPRETER, PREFIX

pytestmark = pytest.mark.timeout(900)

PROBE = f"{INTERPRETER} -P {PREFIX}/tests/system/probe.py"
KNOCK = (
    "import socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.connect('/run/fedagent-trainer.sock');"
    " s.recv(1)"
)


@pytest.fixture(scope="module")
def site(clinic: Clinic) -> Clinic:
    """Agent and aggregator run; there are data that everybody on the machine may read."""
    clinic.configure()
    clinic.found_centre()
    clinic.join(clinic)
    clinic.machine.write("/srv/patients.csv", "patient\n1\n")
    clinic.machine.write("/home/data/patients.csv", "patient\n1\n")
    clinic.machine.write("/etc/fedagent/datasets.d/probe.toml", "")
    clinic.machine.run("systemctl", "start", "fedagent.service", "fedaggregator.service")
    return clinic


EVERYWHERE = frozenset(
    {"state", "write: /tmp", "read: /etc/fedagent/fedagent.toml", "read: /etc/fedagent/ca.crt"}
)
NETWORK = frozenset({"socket: AF_UNIX", "socket: AF_INET", "socket: AF_INET6"})
MACHINE = frozenset({"read: /proc/stat", "read: /proc/meminfo", "read: /proc/pressure/cpu"})
MAY = {
    "fedagent.service": EVERYWHERE | NETWORK | MACHINE | {
        "socket: AF_NETLINK", "read: /proc/1/cgroup", "read: /etc/fedagent/site.key", "read: /var/lib/fedagent",
        "write: /var/lib/fedagent", "write: /run/fedagent",
    },
    "fedaggregator.service": EVERYWHERE | NETWORK | {
        "read: /etc/fedaggregator/aggregator.key", "read: /var/lib/fedaggregator", "write: /var/lib/fedaggregator",
    },
    # PyTorch compiles at run time
    "fedagent-trainer@.service": EVERYWHERE | MACHINE | {
        "writable code", "read: /var/lib/fedagent-trainer", "write: /var/lib/fedagent-trainer",
    },
    # /home is an empty folder of its own, in memory
    "fedagent-snapshot@.service": EVERYWHERE | {
        "socket: AF_UNIX", "read: /etc/fedagent/datasets.d", "read: /srv/patients.csv", "read: /var/lib/fedagent-trainer",
        "write: /var/lib/fedagent-trainer", "write: /home",
    },
}  # fmt: skip
INSTANCES = {
    "fedagent-trainer@.service": "fedagent-trainer@*",
    "fedagent-snapshot@.service": "fedagent-snapshot@probe.service",
}


@pytest.mark.parametrize("unit", MAY)
def test_the_sandbox_allows_this_and_nothing_else(site: Clinic, unit: str) -> None:
    said = probed(site, unit)
    assert {name for name, answer in said.items() if answer == "yes"} == MAY[unit]
    assert (said["capabilities"], said["no new privileges"], said["seccomp"]) == ("0" * 16, "1", "2")
    assert said["links"] == "lo"


def probed(site: Clinic, unit: str) -> dict[str, str]:
    """What the probe said in the place of the unit's program."""
    machine, drop_in = site.machine, f"/etc/systemd/system/{unit}.d/probe.conf"
    file = machine.write(drop_in, f"[Service]\nType=oneshot\nRestart=no\nExecStart=\nExecStart={PROBE}\n")
    machine.run("systemctl", "daemon-reload")
    try:
        if unit == "fedagent-trainer@.service":
            machine.run("python3", "-c", KNOCK)
        else:
            machine.run("systemctl", "restart", INSTANCES.get(unit, unit))
        said = machine.journal("--unit", INSTANCES.get(unit, unit), "--grep=^probed ", "--lines=1")
    finally:
        file.unlink()
        machine.run("systemctl", "daemon-reload")
        machine.run("systemctl", "start", "fedagent.service", "fedaggregator.service")
    result: dict[str, str] = json.loads(said.strip().removeprefix("probed "))
    return result
