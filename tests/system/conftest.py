# SPDX-License-Identifier: Apache-2.0
"""What the system tests share: a root file system, and machines with the product installed. Skipped where none can boot."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.system import product, rootfs
from tests.system.clinic import Clinic
from tests.system.machine import Machine

PROGRAMS = ("debootstrap", "systemd-nspawn", "nsenter", "mount", "umount", "ip")


@pytest.fixture(autouse=True)
def no_leaks() -> None:
    """A machine starts and ends programs of its own all the time; what outlives the run is still found."""


@pytest.fixture(scope="session")
def base() -> Path:
    """The root file system of every machine."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if os.geteuid() != 0:
        pytest.skip("machines are booted by root")
    if missing:
        pytest.skip(f"machines need {', '.join(missing)}")
    try:
        product.shown()
        return rootfs.root_file_system()
    except rootfs.NotPossible as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def machines(base: Path) -> Iterator[ExitStack]:
    """Machines that live as long as a module's tests: enter them here."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture(scope="module")
def clinic(machines: ExitStack, base: Path) -> Clinic:
    """A machine with the product that has joined a centre; the centre's own services are not started."""
    return boot(machines, base, "clinic")


def boot(machines: ExitStack, base: Path, name: str, network: str = "") -> Clinic:
    """A machine with the product, not yet configured."""
    try:
        machine = Machine(name, base, shown=product.shown(), network=network)
        product.put(machine.root)
        machines.enter_context(machine)
    except rootfs.NotPossible as reason:
        pytest.skip(f"no machine can be booted here: {reason}")
    product.set_up(machine)
    return Clinic(machine, name)
