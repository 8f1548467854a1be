# SPDX-License-Identifier: Apache-2.0
"""Failpoints."""

import os
import signal
import subprocess
import sys

import pytest

from fedagent.storage.failpoints import ENVIRONMENT, Failpoint, reach

REACH = "from fedagent.storage.failpoints import *; [print(n, flush=True) or reach(Failpoint.UPDATE_SEALED) for n in range(3)]"


def test_a_point_that_nobody_named_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    for point in Failpoint:
        reach(point)


@pytest.mark.parametrize(
    ("named", "reached", "code"),
    [
        pytest.param("update-sealed", 1, -signal.SIGKILL, id="first time"),
        pytest.param("update-sealed:2", 2, -signal.SIGKILL, id="second time"),
        pytest.param("snapshot-written", 3, 0, id="another point"),
    ],
)
def test_a_process_dies_at_the_named_point(named: str, reached: int, code: int) -> None:
    environment = {**os.environ, ENVIRONMENT: named, "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run(
        [sys.executable, "-c", REACH], env=environment, check=False, stdout=subprocess.PIPE, text=True
    )
    assert (ran.returncode, len(ran.stdout.split())) == (code, reached)
