# SPDX-License-Identifier: Apache-2.0
"""The README's commands, taken from its text, run in an empty folder by a shell: a study of one's own.

Nothing is added but two waits, where a person would look and see that it is not yet.
"""

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from fedagent.demo.broker import MosquittoProgram, free_port
from fedagent.storage.files import make_private_folder
from tests.fakes.leaks import processes

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("FEDAGENT_TEST_DATA", ROOT.parent / "shared" / "data")) / "heart"
SITES = ("cleveland", "hungarian", "switzerland", "va")
LIMIT_S = 240
LONGEST = 150
"""Lines of a README that is still read."""

WAIT = """
for attempt in $(seq 1 400); do {condition} && break; sleep 0.3; done
{condition}
"""


def blocks() -> list[str]:
    """The shell blocks of the section, in their order."""
    section = (ROOT / "README.md").read_text().partition("a study of one's own")[2].partition("\n## ")[0]
    return re.findall(r"^```sh\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)


def script(port: int) -> str:
    """All blocks, and what the section's last line says."""
    lines = ["set -eu"]
    for block in blocks():
        if "study approve" in block:
            lines.append(wait("heart"))
        if "study status" in block:
            lines.append(wait("heart.*ended"))
        lines.append(block.replace("8883", str(port)))
    return "\n".join([*lines, "kill $(jobs -p)", "wait"])


def wait(line: str) -> str:
    """Until each hospital's list of studies has such a line."""
    conditions = (
        f"{{ fedagent study list --config {site}/fedagent.toml 2>&1 | grep -q '^{line}'; }}" for site in SITES
    )
    return "".join(WAIT.format(condition=each) for each in conditions)


@pytest.fixture
def ended() -> Iterator[None]:
    """Whatever the shell left in the background ends, also after a failure; the daemons end their trainers."""
    before = processes()
    yield
    left = []
    for pid, _ in processes() - before:
        with contextlib.suppress(psutil.NoSuchProcess):
            left.append(psutil.Process(pid))
            left[-1].terminate()
    psutil.wait_procs(left, timeout=20)


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the UCI heart disease data are not in {DATA}")
@pytest.mark.timeout(LIMIT_S + 60)
@pytest.mark.usefixtures("ended")
def test_the_readmes_commands_give_a_model(tmp_path: Path, mosquitto: MosquittoProgram) -> None:
    path = f"{Path(sys.executable).parent}:{mosquitto.path.parent}:{os.environ['PATH']}"
    work = make_private_folder(tmp_path / "work")
    environment = {**os.environ, **mosquitto.environment, "PATH": path, "DATA": str(DATA)}
    with (tmp_path / "output").open("wb") as output:
        done = subprocess.run(
            ["bash", "-c", script(free_port())],
            cwd=work,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            timeout=LIMIT_S,
            check=False,
        )
    logs = sorted(work.glob("*/*.log"))
    said = "\n".join(f"--- {each.name}\n{each.read_text()}" for each in [tmp_path / "output", *logs])
    assert done.returncode == 0, said
    assert (work / "heart.safetensors").stat().st_size > 0
    assert "after round 15 of 15" in (work / "heart.md").read_text()
    assert "16,evaluate,15,all,auc," in said
    assert len(logs) == len(SITES) + 2
    assert [line for line in said.splitlines() if " ERROR " in line or line.startswith("Traceback")] == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= LONGEST
