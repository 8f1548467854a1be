# SPDX-License-Identifier: Apache-2.0
"""Tries from inside a sandbox what a taken-over process would, and says what it could do: one JSON object on standard error.

Rule: runs with the standard library alone, as the process that a unit starts; each attempt names what it reaches for.
"""

import ctypes
import json
import mmap
import os
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

PTRACE_ATTACH: Final = 16
_libc: Final = ctypes.CDLL(None, use_errno=True)
_FAMILIES: Final = ("AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK", "AF_PACKET", "AF_VSOCK", "AF_ALG")
_WRITTEN: Final = (
    "/etc/fedagent/approvals.d", "/etc/fedagent", "/etc", "/usr/bin", "/usr/lib/fedagent", "/home", "/srv", "/run", "/",
    "/var/lib/fedagent", "/var/lib/fedagent-trainer", "/var/lib/fedaggregator", "/run/fedagent", "/tmp",
    "/sys/fs/cgroup/system.slice",
)  # fmt: skip
_READ: Final = (
    "/etc/shadow", "/etc/fedagent/site.key", "/etc/fedagent/datasets.d", "/etc/fedaggregator/aggregator.key",
    "/etc/fedaggregator/authority", "/var/lib/fedagent", "/var/lib/fedagent-trainer", "/var/lib/fedaggregator", "/home/data",
    "/srv/patients.csv", "/etc/fedagent/fedagent.toml", "/etc/fedagent/ca.crt", "/proc/stat", "/proc/meminfo",
    "/proc/pressure/cpu", "/proc/1/cgroup",
)  # fmt: skip


def could(act: Callable[[], object]) -> str:
    """``yes``, or why not."""
    try:
        act()
    except OSError as error:
        return error.strerror or type(error).__name__
    return "yes"


def write(folder: str) -> None:
    """Makes a file there."""
    path = Path(folder) / f"probe-{os.getpid()}"
    path.write_text("x")
    path.unlink()


def read(name: str) -> None:
    """Reads the file, or lists the folder."""
    path = Path(name)
    if path.is_dir():
        next(path.iterdir(), None)
    else:
        with path.open("rb") as file:
            file.read(1)


def call(name: str, *arguments: int | bytes | None) -> None:
    """A function of the C library."""
    ctypes.set_errno(0)
    if getattr(_libc, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def open_socket(family: str) -> None:
    """A socket of that family, closed at once."""
    kind = socket.SOCK_SEQPACKET if family == "AF_ALG" else socket.SOCK_DGRAM
    kind = socket.SOCK_RAW if family in {"AF_NETLINK", "AF_PACKET"} else kind
    kind = socket.SOCK_STREAM if family == "AF_VSOCK" else kind
    socket.socket(getattr(socket, family), kind).close()


def connect_out() -> None:
    """The loopback refuses (nobody listens), which shows that it was reached; elsewhere there is no route."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
        connection.settimeout(5.0)
        connection.connect(("127.0.0.1", 9))


def writable_code() -> None:
    """Memory that is writable and executable at once."""
    mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()


def make_setuid() -> None:
    """A program in our own state folder that would run as its owner."""
    path = Path(os.environ["STATE_DIRECTORY"]) / "probe-setuid"
    path.write_text("x")
    try:
        path.chmod(0o4755)
    finally:
        path.unlink()


def attempts() -> dict[str, Callable[[], object]]:
    """What is tried, by its name."""
    found: dict[str, Callable[[], object]] = {
        "namespace: user": lambda: call("unshare", 0x10000000),
        "namespace: mount": lambda: call("unshare", 0x00020000),
        "namespace: network": lambda: call("unshare", 0x40000000),
        "become root": lambda: os.setuid(0),
        "mount": lambda: call("mount", b"none", b"/tmp", b"tmpfs", 0, None),
        "trace PID 1": lambda: call("ptrace", PTRACE_ATTACH, 1, 0, 0),
        "signal PID 1": lambda: os.kill(1, 0),
        "load a module": lambda: call("syscall", 175, None, 0, b""),
        "set the clock": lambda: time.clock_settime(
            time.CLOCK_REALTIME, time.clock_gettime(time.CLOCK_REALTIME)
        ),
        "set the host name": lambda: socket.sethostname("probe"),
        "be real-time": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
        "writable code": writable_code,
        "setuid file": make_setuid,
        "connect": connect_out,
        "state": lambda: write(os.environ["STATE_DIRECTORY"]),
    }
    found |= {f"socket: {family}": partial(open_socket, family) for family in _FAMILIES}
    found |= {f"write: {path}": partial(write, path) for path in _WRITTEN}
    return found | {f"read: {path}": partial(read, path) for path in _READ}


def facts() -> dict[str, str]:
    """What the kernel says of this process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    links = Path("/proc/self/net/dev").read_text(encoding="ascii").splitlines()[2:]
    return {
        "capabilities": status["CapBnd"],
        "no new privileges": status["NoNewPrivs"],
        "seccomp": status["Seccomp"],
        "links": " ".join(sorted(line.split(":")[0].strip() for line in links)),
    }


def main() -> int:
    """Says everything."""
    said = {name: could(act) for name, act in attempts().items()} | facts()
    sys.stderr.write(f"probed {json.dumps(said)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
