# SPDX-License-Identifier: Apache-2.0
"""A booted machine: real systemd as PID 1 (systemd-nspawn), its own disk over the shared root file system.

Rule: a machine is ended by its id, and leaves no mount, no cgroup and no process.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Final, Self

import psutil

from fedagent.trainer.groups import parse_mountinfo
from tests.system.rootfs import NotPossible, folder

BOOT_S: Final = 60.0
END_S: Final = 30.0
COMMAND_S: Final = 120.0
POLL_S: Final = 0.1
ENVIRONMENT: Final = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8",
    "TERM": "dumb", "SYSTEMD_PAGER": "cat", "SYSTEMD_COLORS": "0",
}  # fmt: skip
_NAMESPACES: Final = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wdns=/")


class Machine:
    """One machine. Enter it to have it booted; afterwards nothing of it is left."""

    def __init__(
        self, name: str, base: Path, *, shown: Sequence[tuple[Path, str]] = (), network: str = ""
    ) -> None:
        """Makes its disk; starts nothing.

        Args:
            base: the root file system that it is made from.
            shown: folders of ours, and where the machine finds them, read-only.
            network: path of the network namespace that it lives in; none: a loopback of its own.
        """
        self.name = name
        self._process: subprocess.Popen[bytes] | None = None
        self._groups = _groups(name)
        self._folder = Path(tempfile.mkdtemp(dir=folder(), prefix=f"{name}-"))
        self.root = self._folder / "root"
        for part in ("upper", "work", "root"):
            (self._folder / part).mkdir()
        options = f"lowerdir={base},upperdir={self._folder}/upper,workdir={self._folder}/work"
        mounted = subprocess.run(
            ["mount", "-t", "overlay", "overlay", "-o", options, str(self.root)],
            capture_output=True, text=True, timeout=COMMAND_S, check=False,
        )  # fmt: skip
        if mounted.returncode:
            shutil.rmtree(self._folder)
            raise NotPossible(f"no overlay can be mounted: {mounted.stderr.strip()}")
        self._network = f"--network-namespace-path={network}" if network else "--private-network"
        self._shown = shown

    def __enter__(self) -> Self:
        try:
            self.boot()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- life ---------------------------------------------------------------------------------------------------------

    def boot(self) -> None:
        """Returns when systemd has reached its default target.

        Raises:
            NotPossible: no machine can be booted here.
        """
        try:
            for group in self._groups:
                group.mkdir(exist_ok=True)
        except OSError as error:
            raise NotPossible(f"no cgroup can be made: {error}") from error
        binds = [f"--bind-ro={ours}:{theirs}" for ours, theirs in self._shown]
        words = [
            "systemd-nspawn", "--quiet", f"--directory={self.root}", f"--machine={self.name}", "--boot", "--register=no",
            "--keep-unit", "--console=pipe", "--resolv-conf=off", "--timezone=off", "--link-journal=no", self._network, *binds,
        ]  # fmt: skip
        # whoever kills us: systemd-nspawn then powers the machine off
        enter = "".join(f'echo $$ >"{group}/cgroup.procs"; ' for group in self._groups)
        with (self._folder / "console").open("ab") as console:
            self._process = subprocess.Popen(
                ["sh", "-c", f'{enter}exec setpriv --pdeathsig TERM "$@"', "sh", *words],
                stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT, start_new_session=True,
                env={**ENVIRONMENT, "PATH": os.environ["PATH"], "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            )  # fmt: skip
        try:
            self.wait("the machine's start", self._is_up, BOOT_S)
        except AssertionError as error:
            raise NotPossible(f"{error}: {self._console()}") from error

    def _is_up(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise NotPossible(f"systemd-nspawn ended with {self._process.returncode}: {self._console()}")
        if self._leader() is None:
            return False
        return self.attempt("systemctl", "is-system-running").stdout.strip() in {"running", "degraded"}

    def _console(self) -> str:
        return " | ".join((self._folder / "console").read_text(errors="replace").strip().splitlines()[-3:])

    def power_off(self) -> None:
        """An orderly end: units are stopped, the disk stays."""
        self._end(signal.SIGRTMIN + 4)  # systemd(1): starts poweroff.target

    def cut_power(self) -> None:
        """PID 1 is killed, and with it everything."""
        self._end(signal.SIGKILL)

    def close(self) -> None:
        """Nothing of the machine is left."""
        self.cut_power()
        subprocess.run(["umount", str(self.root)], timeout=COMMAND_S, check=False)
        if self.root.is_mount():
            raise OSError(f"{self.root} cannot be unmounted")
        for group in self._groups:
            for path in sorted([group, *group.rglob("*/")], reverse=True):
                with contextlib.suppress(OSError):
                    path.rmdir()
        shutil.rmtree(self._folder)

    def _end(self, number: int) -> None:
        process, leader = self._process, self._leader()
        if process is None:
            return
        if leader is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(leader, number)
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(END_S)
        self._process = None

    def _leader(self) -> int | None:
        """The id here of the machine's PID 1."""
        if self._process is None or self._process.poll() is not None:
            return None
        for child in psutil.Process(self._process.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if child.name() == "systemd":
                    return child.pid
        return None

    # --- inside -------------------------------------------------------------------------------------------------------

    def attempt(
        self, *words: str, given: str = "", limit_s: float = COMMAND_S
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command as root in the machine."""
        leader = self._leader()
        assert leader is not None, f"{self.name} does not run"
        return subprocess.run(
            ["nsenter", f"--target={leader}", *_NAMESPACES, "--", *words],
            input=given, capture_output=True, text=True, timeout=limit_s, env=ENVIRONMENT, check=False,
        )  # fmt: skip

    def run(self, *words: str, given: str = "", limit_s: float = COMMAND_S) -> str:
        """What the command printed; it must succeed."""
        done = self.attempt(*words, given=given, limit_s=limit_s)
        assert done.returncode == 0, f"{' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def write(self, path: str, text: str, mode: int = 0o644) -> Path:
        """The file holds this text; its folders are made."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)
        return file

    def read(self, path: str) -> str:
        """The text of a file on the machine's disk."""
        return (self.root / path.lstrip("/")).read_text()

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).strip()

    def journal(self, *words: str) -> str:
        """What the journal holds, the messages alone."""
        self.run("journalctl", "--sync")
        return self.run("journalctl", "--no-pager", "--quiet", "--output=cat", *words)

    def wait(self, what: str, happened: Callable[[], bool], limit_s: float = 60.0) -> None:
        """Returns once it has happened; fails where it does not."""
        end, pace = monotonic() + limit_s, Event()
        while not happened():
            assert monotonic() < end, f"{what} did not come in {limit_s:g} s"
            pace.wait(POLL_S)

    def wait_state(self, unit: str, state: str, limit_s: float = 60.0) -> None:
        """Returns once the unit's ``ActiveState`` is this."""
        self.wait(f"{unit} {state}", lambda: self.show(unit, "ActiveState") == state, limit_s)


def _groups(name: str) -> list[Path]:
    """Cgroups of the machine's own; systemd-nspawn needs one in v2, and in systemd's v1 hierarchy where there is one."""
    unified = parse_mountinfo(Path("/proc/self/mountinfo").read_text(encoding="utf-8"))
    if unified is None:
        raise NotPossible("no cgroup v2 is mounted")
    named = Path("/sys/fs/cgroup/systemd")
    hierarchies = [unified] + ([named] if named.is_mount() else [])
    return [hierarchy / f"fedagent-{os.getpid()}-{name}" for hierarchy in hierarchies]
