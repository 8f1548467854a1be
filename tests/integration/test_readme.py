# SPDX-License-Identifier: Apache-2.0
"""The README's commands, taken from its text, run in an empty folder by a shell: a study of one's own.

``sh`` blocks run once, ``sh site`` blocks once for each hospital, in the order of the text.
"""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from fedagent.demo.broker import MosquittoProgram, free_port

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("FEDAGENT_TEST_DATA", ROOT.parent / "shared" / "data")) / "heart"
SITES = ("cleveland", "hungarian", "switzerland", "va")
LIMIT_S = 240

pytestmark = [
    pytest.mark.skipif(not DATA.is_dir(), reason=f"the UCI heart disease data are not in {DATA}"),
    pytest.mark.timeout(LIMIT_S + 60),
]

WAIT = """
for attempt in $(seq 1 600); do {condition} && break; sleep 0.2; done
{condition}
"""


def script(port: int) -> str:
    """One shell script of all blocks, with a wait wherever a person would look and see that it is not yet."""
    section = (ROOT / "README.md").read_text().partition("a study of one's own")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```sh( site)?\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    lines = ["set -eu"]
    for for_each_site, text in blocks:
        block = text.replace("8883", str(port))
        if "study list" in block:
            lines.append(WAIT.format(condition=known("$SITE")).replace("$SITE", SITES[-1]))
        if "study status" in block:
            lines.append(WAIT.format(condition=" && ".join(ended(site) for site in SITES)))
        for site in SITES if for_each_site else ("",):
            if for_each_site and "study list" in block:
                lines.append(WAIT.format(condition=known(site)))
            lines.append(f"SITE={site}\n{block}" if site else block)
    return "\n".join(lines)


def known(site: str) -> str:
    return f"fedagent study list --config {site}/fedagent.toml 2>/dev/null | grep -q heart"


def ended(site: str) -> str:
    return f"fedagent study list --config {site}/fedagent.toml | grep -q ended"


def test_the_readmes_commands_give_a_model(tmp_path: Path, mosquitto: MosquittoProgram) -> None:
    path = f"{Path(sys.executable).parent}:{mosquitto.path.parent}:{os.environ['PATH']}"
    (tmp_path / "script.sh").write_text(script(free_port()))
    work = tmp_path / "work"
    work.mkdir()
    environment = {**os.environ, **mosquitto.environment, "PATH": path, "DATA": str(DATA)}
    with (tmp_path / "output").open("wb") as output:
        shell = subprocess.Popen(
            ["bash", "../script.sh"],
            cwd=work,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            code = shell.wait(LIMIT_S)
        finally:
            end_session(shell.pid)
    said = (tmp_path / "output").read_text()
    assert code == 0, said
    assert (work / "heart.safetensors").stat().st_size > 0
    assert "auc" in said


def end_session(leader: int) -> None:
    """Ends the programs that the shell left in the background, which is what a person does at the end of the day."""
    ours = [each for each in psutil.process_iter() if _session(each.pid) == leader]
    for each in ours:
        each.send_signal(signal.SIGTERM)
    _, alive = psutil.wait_procs(ours, timeout=20)
    for each in alive:
        each.kill()


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None
