# SPDX-License-Identifier: Apache-2.0
"""Mosquitto for the demo and the tests: found or fetched, started, and ended with its owner.

Rule: nothing is installed on the machine. A broker that is missing is unpacked into a cache folder, without root, and
counts as found only after it has accepted a connection.
"""

import contextlib
import getpass
import os
import re
import select
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from types import MappingProxyType
from typing import Final, Self

from msgspec import Struct

from fedagent.conditions.commands import (
    BROKER_ACCEPTS_NOTHING,
    BROKER_ENDED,
    BROKER_NOT_STARTED,
    CANNOT_FETCH_MOSQUITTO,
    LIBRARY_IN_NO_PACKAGE,
    NO_NEW_MOSQUITTO,
)
from fedagent.errors import UnavailableError

LOOPBACK: Final = "127.0.0.1"
START_S: Final = 10.0
STOP_S: Final = 5.0
POLL_S: Final = 0.02
FETCH_S: Final = 120.0
OLDEST: Final = 2
"""The first major version with the listener settings that the broker's configuration needs."""

SBIN: Final = "/usr/sbin"
"""Where Debian puts mosquitto; not on the PATH of ordinary users."""


class MosquittoProgram(Struct, frozen=True):
    """A mosquitto that was seen to work.

    Attributes:
        version: as it says itself, for example ``2.0.11``.
        environment: what it needs beside our own environment.
    """

    path: Path
    version: str
    environment: Mapping[str, str]


class Broker:
    """One mosquitto process, as a context manager; may be entered again after it has ended.

    Args:
        configuration: mosquitto's file; started by root it should say ``user``, else mosquitto changes to its own.
        port: on the loopback address, one that the configuration listens on.
        log: gets what the process prints; appended to.
    """

    def __init__(self, program: MosquittoProgram, *, configuration: Path, port: int, log: Path) -> None:
        self.port = port
        self._log = log
        self._environment = program.environment
        self._command = (str(program.path), "-c", str(configuration))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The id of the running process.

        Raises:
            UnavailableError: it does not run.
        """
        if self._process is None:
            raise UnavailableError(BROKER_NOT_STARTED(port=self.port))
        return self._process.pid

    def __enter__(self) -> Self:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self._environment},
            )
        try:
            _wait_until_accepting(self._process, self.port, self._log)
        except UnavailableError:
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is None:
            return
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_S)
        self.kill()

    def kill(self) -> None:
        """End the process at once, as a power failure would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def free_port() -> int:
    """A TCP port of the loopback address that nobody listens on now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def find_mosquitto(cache: Path, *, search_path: str | None = None) -> MosquittoProgram:
    """A mosquitto that works: the machine's own, else one unpacked from the distribution's packages into the cache.

    Args:
        cache: a folder of ours, made if missing; what was unpacked there before is used again.
        search_path: where the machine's own may be, as in ``PATH``; without it ``PATH`` and ``/usr/sbin``.

    Raises:
        UnavailableError: there is none, and none could be fetched.
    """
    where = f"{os.environ.get('PATH', os.defpath)}:{SBIN}" if search_path is None else search_path
    installed = shutil.which("mosquitto", path=where)
    if installed is not None:
        with contextlib.suppress(UnavailableError):  # too old, or broken: a newer one may still be fetched
            return _checked(Path(installed), {})
    root = cache / "mosquitto"
    if not (root / "usr/sbin/mosquitto").exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix="fetch-") as work:
            _Packages(Path(work)).unpack_mosquitto().rename(root)
    return _checked(root / "usr/sbin/mosquitto", _environment(root))


def _checked(program: Path, environment: Mapping[str, str]) -> MosquittoProgram:
    said = _run([str(program), "-h"], environment=environment, allowed=frozenset({0, 1, 3}))
    found = re.search(r"mosquitto version (\d+)(\.\S+)?", said)
    if found is None or int(found[1]) < OLDEST:
        raise UnavailableError(NO_NEW_MOSQUITTO(program=program, oldest=OLDEST))
    version = found[1] + (found[2] or "")
    checked = MosquittoProgram(path=program, version=version, environment=dict(environment))
    _try_out(checked)
    return checked


def _try_out(program: MosquittoProgram) -> None:
    port = free_port()
    lines = [
        f"listener {port} {LOOPBACK}",
        "allow_anonymous true",
        "persistence false",
        f"user {getpass.getuser()}",
    ]
    with tempfile.TemporaryDirectory(prefix="fedagent-broker-") as folder:
        configuration = Path(folder, "mosquitto.conf")
        configuration.write_text("\n".join(lines) + "\n", "utf-8")
        with Broker(program, configuration=configuration, port=port, log=Path(folder, "log")):
            pass


def _wait_until_accepting(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = monotonic() + START_S
    poll = select.poll()
    handle = os.pidfd_open(process.pid)
    try:
        poll.register(handle, select.POLLIN)
        while not _accepts(port):
            if poll.poll(POLL_S * 1000):  # also the pause between two attempts
                raise UnavailableError(BROKER_ENDED(port=port, reason=_last_words(log), log=log))
            if monotonic() > deadline:
                said = BROKER_ACCEPTS_NOTHING(port=port, limit_s=START_S, reason=_last_words(log))
                raise UnavailableError(said)
    finally:
        os.close(handle)


def _accepts(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), timeout=1.0).close()
    except OSError:
        return False
    return True


def _last_words(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").splitlines()[-2:]  # mosquitto tells what, and then where
    return " ".join(lines) or "it printed nothing"


class _Packages:
    """Debian's packages, fetched and unpacked below one folder by whoever we are."""

    def __init__(self, work: Path) -> None:
        self._work = work
        self._root = work / "root"
        self._options: tuple[str, ...] = ()

    def unpack_mosquitto(self) -> Path:
        """The folder that now holds mosquitto and each library that the machine lacks.

        Raises:
            UnavailableError: apt cannot fetch them, or a library is in none of the packages.
        """
        if not self._knows_mosquitto():
            self._read_lists()
        known = self._depended_on()
        self._unpack("mosquitto")
        for _ in known:
            missing = self._missing_libraries()
            if not missing:
                break
            for library in missing:
                self._unpack(_package_of(library, known))
        return self._root

    def _knows_mosquitto(self) -> bool:
        return "Package: mosquitto" in _run(["apt-cache", "show", "mosquitto"], allowed=frozenset({0, 100}))

    def _read_lists(self) -> None:
        for name in ("lists/partial", "archives/partial"):
            (self._work / name).mkdir(parents=True)
        self._options = (
            f"-oDir::State::lists={self._work}/lists",
            f"-oDir::Cache={self._work}",
            f"-oAPT::Sandbox::User={getpass.getuser()}",
        )
        _run(["apt-get", *self._options, "update"])

    def _depended_on(self) -> frozenset[str]:
        listed = _run(["apt-cache", *self._options, "depends", "--recurse", "--important", "mosquitto"])
        return frozenset(re.findall(r"^([a-z0-9][a-z0-9.+-]+)", listed, re.MULTILINE))

    def _unpack(self, package: str) -> None:
        folder = self._work / "packages" / package
        folder.mkdir(parents=True)
        _run(
            ["apt-get", *self._options, f"-oAPT::Sandbox::User={getpass.getuser()}", "download", package],
            folder=folder,
        )
        for archive in folder.glob("*.deb"):
            _run(["dpkg", "-x", str(archive), str(self._root)])

    def _missing_libraries(self) -> list[str]:
        said = _run(["ldd", str(self._root / "usr/sbin/mosquitto")], environment=_environment(self._root))
        return sorted(set(re.findall(r"^\s*(\S+) => not found", said, re.MULTILINE)))


def _environment(root: Path) -> Mapping[str, str]:
    folders = sorted(
        str(path) for path in [*root.glob("usr/lib/*-linux-gnu*"), *root.glob("lib/*-linux-gnu*")]
    )
    return {"LD_LIBRARY_PATH": ":".join(folders)}


def _package_of(library: str, known: frozenset[str]) -> str:
    """The package of a library, whose name follows from the soname (Debian Policy section 8.1)."""
    stem, _, version = library.partition(".so.")
    name = f"{stem}-{version}" if stem[-1:].isdigit() else f"{stem}{version}"
    for candidate in (name, f"{name}t64"):  # t64: libraries rebuilt for a 64-bit time_t
        if candidate in known:
            return candidate
    raise UnavailableError(LIBRARY_IN_NO_PACKAGE(library=library))


def _run(
    command: Sequence[str],
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] = MappingProxyType({}),
    allowed: frozenset[int] = frozenset({0}),
) -> str:
    """What the command printed.

    Raises:
        UnavailableError: it is not there, failed or took too long.
    """
    chosen = {**os.environ, **environment, "LC_ALL": "C.UTF-8"}
    try:
        ran = subprocess.run(
            command, cwd=folder, env=chosen, check=False, text=True, timeout=FETCH_S,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(CANNOT_FETCH_MOSQUITTO(command=command[0], reason=error)) from error
    if ran.returncode not in allowed:
        last = (ran.stdout.strip().splitlines() or [str(ran.returncode)])[-1]
        raise UnavailableError(CANNOT_FETCH_MOSQUITTO(command=command[0], reason=last))
    return ran.stdout
