# SPDX-License-Identifier: Apache-2.0
"""``fedagent demo`` as a program would call it: one JSON object, a picture, logs, and nothing left running."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fedagent.demo.processes import module

pytestmark = pytest.mark.timeout(300)

SITE_KEYS = {"name", "rows", "local_auc", "federated_auc", "bytes_up", "bytes_down", "yielded_s"}


def test_the_demo_gives_its_result_as_json_and_leaves_only_picture_and_logs(tmp_path: Path) -> None:
    words = module("fedagent.cli.main", "demo", "--sites", "2", "--rounds", "2", "--seed", "5", "--json")
    done = subprocess.run(
        [*words, "--cache", str(tmp_path)], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["seed"], result["rounds"], len(result["model_digest"])) == (5, 2, 64)
    assert result["federated_auc"] > 0.8
    assert result["pooled_auc"] > 0.8
    assert result["seconds"] > 0
    assert [site["name"] for site in result["sites"]] == ["hospital-1", "hospital-2"]
    for site in result["sites"]:
        assert site.keys() >= SITE_KEYS
        assert site["rows"] > 0
        assert site["bytes_up"] > 0
        assert site["bytes_down"] > 0
    assert (tmp_path / "demo.svg").read_text().startswith("<svg")
    logs = {path.name for path in (tmp_path / "demo-logs").iterdir()}
    assert logs == {"aggregator.log", "broker.log", "hospital-1.log", "hospital-2.log"}
    assert "Traceback" not in done.stderr


def test_numbers_that_make_no_sense_are_refused_before_anything_starts(tmp_path: Path) -> None:
    for words in (["--sites", "1"], ["--sites", "9"], ["--rounds", "0"]):
        done = subprocess.run(
            [sys.executable, "-m", "fedagent.cli.main", "demo", *words, "--cache", str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 64
        assert words[0] in done.stderr
    assert list(tmp_path.iterdir()) == []
