# SPDX-License-Identifier: Apache-2.0
"""SIGKILL at every point where durability is decided: the study goes on and ends with the same model, bit for bit."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import tomli_w

from fedagent.aggregator.store import Store
from fedagent.cli.aggregator import main
from fedagent.storage.failpoints import ENVIRONMENT, Failpoint
from fedagent.wire import study as s

LIMIT_S = 60.0
STUDY = s.Study(
    name="transfer",
    purpose="Measures the transfer.",
    contact="study@example.org",
    task=s.Identity(parameters=40_000, tensors=3, increment=0.5),
    federation=s.Federation(
        rounds=2,
        sites=("clinic-a", "clinic-b", "clinic-c"),
        quorum=3,
        deadline_s=3600.0,
        aggregation=s.FedAvg(server_momentum=0.9),
    ),
    chunk_bytes=65_536,
)
KILLS = [
    *((Failpoint.AGGREGATOR_BEFORE_COMMIT, number) for number in (1, 3, 8, 20, 30)),
    *((Failpoint.AGGREGATOR_AFTER_COMMIT, number) for number in (1, 4, 9, 21, 31)),
    *((Failpoint.AGGREGATOR_CHUNK_STORED, number) for number in (1, 9, 12)),
    *((Failpoint.AGGREGATOR_MODEL_FOLDED, number) for number in (1, 2, 3)),
    *((Failpoint.FILE_BEFORE_RENAME, number) for number in (2, 6, 9)),
    *((Failpoint.FILE_AFTER_RENAME, number) for number in (2, 6, 9)),
]


class Centre:
    """A study centre's folder and the program that plays the study."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "password").write_text("secret")
        (folder / "study.toml").write_text(tomli_w.dumps(msgspec.to_builtins(STUDY)))
        words = ["init", str(folder), "--host", "localhost", "--password-file", str(folder / "password")]
        assert main(words) == 0

    def play(self, failpoint: str | None = None) -> int:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        if failpoint:
            environment[ENVIRONMENT] = failpoint
        words = [sys.executable, "-m", "tests.fakes.centre_program"]
        paths = [str(self.folder / "fedaggregator.toml"), str(self.folder / "study.toml")]
        ended = subprocess.run(
            [*words, *paths], env=environment, timeout=LIMIT_S, check=False, capture_output=True, text=True
        )
        assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
        return ended.returncode

    def models(self) -> list[str]:
        store = Store(self.folder / "state" / "aggregator.sqlite")
        try:
            assert store.study(STUDY.name).phase == "ended"
            return [model.reference.plaintext.hex() for model in store.models(STUDY.name)]
        finally:
            store.close()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    centre = Centre(tmp_path_factory.mktemp("undisturbed"))
    assert centre.play() == 0
    return centre.models()


@pytest.mark.parametrize(("point", "number"), KILLS, ids=[f"{point}-{number}" for point, number in KILLS])
def test_a_kill_loses_nothing(tmp_path: Path, undisturbed: list[str], point: Failpoint, number: int) -> None:
    centre = Centre(tmp_path)
    assert centre.play(f"{point}:{number}") == -signal.SIGKILL
    assert centre.play() == 0
    assert centre.models() == undisturbed
    assert list((tmp_path / "state" / "updates").iterdir()) == []
    assert len(list((tmp_path / "state" / "models").iterdir())) == 3
