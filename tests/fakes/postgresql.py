# SPDX-License-Identifier: Apache-2.0
"""A real PostgreSQL server of the test's own: unix socket only, ended by its process.

Rule: nothing of it is left; without PostgreSQL on the machine the tests skip and say so.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypedDict

import pytest

STOP_S = 30


class Owner(TypedDict, total=False):
    """As whom a program runs: the server refuses to be root."""

    user: int
    group: int
    extra_groups: list[int]


class PostgresqlServer:
    """A running server; ``sql`` speaks to it as its superuser."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self.folder = programs, folder

    def sql(self, *statements: str, database: str = "postgres") -> None:
        """Runs the statements, one after the other."""
        words = [
            str(self._programs / "psql"),
            "-h",
            str(self.folder),
            "-U",
            "postgres",
            "-d",
            database,
            "-qX",
        ]
        commands = [word for statement in statements for word in ("-c", statement)]
        subprocess.run([*words, "-v", "ON_ERROR_STOP=1", *commands], check=True, capture_output=True)

    def source(self, query: str, **more: object) -> dict[str, object]:
        """A source of a dataset's definition."""
        return {
            "kind": "postgresql",
            "socket": str(self.folder),
            "database": "postgres",
            "user": "reader",
            "query": query,
            **more,
        }


def find_programs() -> Path:
    """The folder of PostgreSQL's programs; skips the test where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("postgres")
    if found:
        return found[-1].parent
    if on_path:
        return Path(on_path).parent
    pytest.skip("PostgreSQL is not installed (postgres, initdb, psql)")


@contextmanager
def running_server() -> Iterator[PostgresqlServer]:
    """A server with a fresh cluster, until the block ends."""
    programs = find_programs()
    with tempfile.TemporaryDirectory(prefix="fedagent-pg-", dir="/tmp", ignore_cleanup_errors=True) as name:
        folder, owner = Path(name), Owner()
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            owner = Owner(user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=[])
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
            folder.chmod(0o755)
        cluster = [
            str(programs / "initdb"),
            "-D",
            f"{name}/data",
            "-U",
            "postgres",
            "--auth=trust",
            "-N",
            "--locale=C.UTF-8",
        ]
        subprocess.run(cluster, check=True, capture_output=True, cwd=name, **owner)
        (folder / "data" / "pg_hba.conf").write_text("local all refused reject\nlocal all all trust\n")
        server = [
            str(programs / "postgres"),
            "-D",
            f"{name}/data",
            "-k",
            name,
            "-c",
            "listen_addresses=",
            "-c",
            "fsync=off",
        ]
        with subprocess.Popen(server, stderr=subprocess.PIPE, text=True, cwd=name, **owner) as process:
            try:
                _wait_ready(process)
                yield PostgresqlServer(programs, folder)
            finally:
                process.send_signal(signal.SIGINT)
                process.communicate(timeout=STOP_S)


def _wait_ready(process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if "ready to accept connections" in line:
            return
    pytest.fail("PostgreSQL did not start: " + "".join(lines))
