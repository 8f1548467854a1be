# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from fedagent.trainer.process import environment


def test_the_workers_environment_holds_no_secret_and_one_number_of_threads() -> None:
    inherited = {
        "PATH": "/bin",
        "PYTHONPATH": "/x",
        "CREDENTIALS_DIRECTORY": "/run/c",
        "PGPASSWORD": "p",
        "OMP_NUM_THREADS": "64",
    }
    made = environment(inherited, home=Path("/state"), threads=3)
    assert made.keys().isdisjoint({"CREDENTIALS_DIRECTORY", "PGPASSWORD"})
    assert (made["PATH"], made["PYTHONPATH"], made["HOME"]) == ("/bin", "/x", "/state")
    assert {made[name] for name in made if name.endswith("_NUM_THREADS")} == {"3"}
