# SPDX-License-Identifier: Apache-2.0
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fedagent import VERSION
from fedagent.cli.main import main
from fedagent.core.state import AgentState
from fedagent.site import control, operator
from tests.fakes.daemon import FakeDaemon
from tests.fakes.scenes import GO, NAME, at, facts, play, ready, sampled, site, training


def shown(config: Path, capsys: pytest.CaptureFixture[str], state: AgentState, *line: str) -> str:
    """What the command prints of a daemon in this state, twelve minutes after the tests' clock began."""
    with FakeDaemon(config.parent / "run", state, now=at(720)):
        assert main([*line, "--config", str(config)]) == 0
    return capsys.readouterr().out


def test_the_status_of_a_site_that_trains(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(config, capsys, training(), "status").splitlines() == [
        f"site        clinic-a (fedagent {VERSION})",
        "broker      connected for 13 min, since 15:05:40; 1.5 kB sent, 2.5 MB received",
        "training    allowed for 12 min, since 15:06:40",
        "trainer     at work on heart-1, step 10 of 50 for 12 min, since 15:06:40",
        "machine     not looked at yet",
        "yielded     to the clinic 0 times, 0 s in all",
        "",
        "study       heart-1, round 1 of 10",
        "  state     training for 12 min, since 15:06:40",
        "  waits for the training: step 10 of 50",
        "  deadline  of this round in 23 h 48 min, at 2025-06-16 15:06:40",
    ]


def test_the_status_of_a_site_that_does_nothing(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = site(facts=facts(cpu_others_ratio=0.333, memory_available_mib=2048))
    assert shown(config, capsys, state, "status").splitlines()[2:] == [
        "training    not allowed now: others use the CPU (for 12 min, since 15:06:40)",
        "trainer     not running for 28 min, since 14:50:00",
        "machine     others use 33% of the CPU, 2048 MiB of memory available",
        "yielded     to the clinic 0 times, 0 s in all",
        "studies     none: the aggregator has announced none for this site yet",
    ]


@pytest.mark.parametrize("name", ["status", "why"])
def test_programs_get_json(config: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    told = json.loads(shown(config, capsys, training(), name, "--json"))
    assert told["verdict"] == {
        "go": True, "text": "training is allowed", "since": GO.since, "until": None,
        "signal": None, "value": None, "threshold": None,
    }  # fmt: skip
    if name == "why":
        assert told["studies"] == {NAME: "the training: step 10 of 50"}
    else:
        assert told["trainer"]["step"] == 10


def low_memory() -> AgentState:
    return play(ready(), [(1, sampled(1, memory_available_mib=500))])[0]


@pytest.mark.parametrize(
    ("begin", "lines"),
    [
        pytest.param(
            training,
            [
                "training is allowed for 12 min, since 15:06:40",
                "study heart-1: training; waits for the training: step 10 of 50",
            ],
            id="it does",
        ),
        pytest.param(
            site,
            ["training is not allowed now: others use the CPU (for 12 min, since 15:06:40)"],
            id="no number",
        ),
        pytest.param(
            low_memory,
            [
                "training is not allowed now: 500 MiB memory available, 1024 MiB must stay free (for 12 min, since 15:06:40)",
                "  signal memory: 500, threshold 1024",
                "study heart-1: ready to train; waits for the machine: 500 MiB memory available, 1024 MiB must stay free",
            ],
            id="it does not",
        ),
    ],
)
def test_why(
    config: Path, capsys: pytest.CaptureFixture[str], begin: Callable[[], AgentState], lines: list[str]
) -> None:
    assert shown(config, capsys, begin(), "why").splitlines() == lines


def test_an_answer_of_another_kind_is_another_version(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operator, "answer", lambda *_: (control.Done(text="?"), None))
    with FakeDaemon(config.parent / "run", site()):
        assert main(["status", "--config", str(config)]) == 69
    assert "is it of another version? restart it [FA4606]" in capsys.readouterr().err
