# SPDX-License-Identifier: Apache-2.0
"""A Debian 12 root file system with systemd, made once by debootstrap from the package sources of this machine's own apt.

Rule: what it is made of names it, so that a changed list makes another; it is never changed after it was made.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

SUITE: Final = "bookworm"
PACKAGES: Final = ("systemd-sysv", "dbus", "libnss-systemd", "iproute2", "python3", "mosquitto")
MASKED: Final = (
    "getty@.service", "console-getty.service", "container-getty@.service", "apt-daily.timer",
    "apt-daily-upgrade.timer", "e2scrub_all.timer", "fstrim.timer", "dpkg-db-backup.timer", "mosquitto.service",
)  # fmt: skip
"""They wait for hardware that is not there, for a network, or (mosquitto) are started by tests with their own settings."""

CACHE_ENVIRONMENT: Final = "FEDAGENT_MACHINES"
"""A folder that outlives the clone; below ``build/`` where it is not given."""

BUILD_S: Final = 600
PYTHON: Final = (3, 11)
"""Debian 12's own: the libraries of this environment must be built for it."""

_REVISION: Final = 1


class NotPossible(Exception):  # noqa: N818 (a reason to skip, not an error)
    """This machine cannot do it; the text says why."""


def folder() -> Path:
    """Where machines and their root file system are kept."""
    default = Path(__file__).parents[2] / "build" / "machines"
    return Path(os.environ.get(CACHE_ENVIRONMENT) or default)


def root_file_system() -> Path:
    """The folder that holds it.

    Raises:
        NotPossible: no mirror of Debian 12 is known to apt here, or it does not answer.
    """
    made_of = f"{_REVISION} {SUITE} {PACKAGES} {MASKED}"
    path = folder() / f"{SUITE}-{hashlib.sha256(made_of.encode()).hexdigest()[:12]}"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="making-") as name:
        root = Path(name) / "root"
        _bootstrap(root, Path(name) / "log")
        _adapt(root)
        root.rename(path)
    return path


def _bootstrap(root: Path, log: Path) -> None:
    words = [
        "debootstrap",
        "--variant=minbase",
        f"--include={','.join(PACKAGES)}",
        SUITE,
        str(root),
        _mirror(),
    ]
    with log.open("wb") as output:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=BUILD_S,
            check=False,
        )
    if done.returncode:
        last = log.read_text(errors="replace").strip().splitlines()[-1:]
        raise NotPossible(f"debootstrap failed: {' '.join(last)}")


def _mirror() -> str:
    """The mirror that this machine's own apt uses for Debian 12."""
    words = ["apt-get", "indextargets", "--format", "$(REPO_URI)"]
    chosen = ["Created-By: Packages", "Origin: Debian", f"Codename: {SUITE}"]
    listed = subprocess.run([*words, *chosen], capture_output=True, text=True, timeout=60, check=False).stdout
    if not listed.strip():  # nobody has asked the mirrors here yet
        subprocess.run(["apt-get", "update", "-qq"], capture_output=True, timeout=BUILD_S, check=False)
        listed = subprocess.run(
            [*words, *chosen], capture_output=True, text=True, timeout=60, check=False
        ).stdout
    if not listed.strip():
        raise NotPossible(f"apt knows no mirror of Debian {SUITE} here")
    return listed.split()[0]


def _adapt(root: Path) -> None:
    """A fresh machine id at every first boot, a journal that survives, no package sources, nothing that only waits."""
    (root / "etc/machine-id").write_text("")
    (root / "etc/hostname").unlink(missing_ok=True)
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
    (root / "etc/resolv.conf").write_text("")
    (root / "etc/apt/sources.list").write_text("")
    (root / "var/log/journal").mkdir(exist_ok=True)
    shutil.rmtree(root / "var/cache/apt/archives", ignore_errors=True)
    for unit in MASKED:
        link = root / "etc/systemd/system" / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
