# SPDX-License-Identifier: Apache-2.0
import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from fedagent import VERSION
from fedagent.cli.main import main
from fedagent.cli.output import local_time
from fedagent.core.state import AgentState, StudyState
from fedagent.site import control, operator
from tests.fakes.daemon import FakeDaemon
from tests.fakes.scenes import GO, NAME, NO, facts, play, ready, sampled, site, training

SINCE = local_time(NO.since)


def shown(config: Path, capsys: pytest.CaptureFixture[str], state: AgentState, *line: str) -> str:
    with FakeDaemon(config.parent / "run", state):
        assert main([*line, "--config", str(config)]) == 0
    return capsys.readouterr().out


def noted() -> StudyState:
    return msgspec.structs.replace(ready().studies[NAME], note="waits for rain")


def test_the_status_of_a_site_that_trains(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(config, capsys, training(), "status").splitlines() == [
        f"site      clinic-a (fedagent {VERSION}, mode train)",
        "broker    connecting; 1.5 kB up, 2.5 MB down since the start",
        f"verdict   training is allowed (since {SINCE})",
        "machine   not looked at yet",
        "trainer   busy, study heart-1, step 10 of 50",
        "yielded   0 times, 0.0 s in all",
        f"study     heart-1: round 1 of 10, training (since {SINCE})",
    ]


def test_the_status_of_a_site_that_does_nothing(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = site(facts=facts(cpu_others_ratio=0.333, memory_available_mib=2048))
    lines = shown(config, capsys, state, "status").splitlines()
    assert lines[2] == f"verdict   others use the CPU (since {SINCE})"
    assert lines[3] == "machine   others use 33% of the CPU, 2048 MiB available"
    assert lines[4] == "trainer   absent"
    assert lines[-1] == "studies   none: the aggregator has announced none for this site yet"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        pytest.param(
            {"cpu_others_ratio": None},
            "others use an unknown share of the CPU, 8192 MiB available",
            id="no CPU",
        ),
        pytest.param(
            {"memory_available_mib": None},
            "others use 0% of the CPU, unknown memory available",
            id="no memory",
        ),
    ],
)
def test_what_cannot_be_read_is_called_unknown(
    config: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, object], line: str
) -> None:
    assert f"machine   {line}\n" in shown(config, capsys, site(facts=facts(**changes)), "status")


def test_the_status_says_what_a_study_waits_for(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(config, capsys, site(studies={NAME: noted()}), "status").splitlines()
    assert lines[-1] == "          waits for rain"


@pytest.mark.parametrize("name", ["status", "why"])
def test_programs_get_json(config: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    told = json.loads(shown(config, capsys, training(), name, "--json"))
    assert told["verdict"] == {
        "go": True, "text": "training is allowed", "since": GO.since, "signal": None, "value": None, "threshold": None,
    }  # fmt: skip
    if name == "why":
        assert told["studies"] == {NAME: "training"}
    else:
        assert told["trainer"]["step"] == 10


def low_memory() -> AgentState:
    return play(ready(), [(1, sampled(1, memory_available_mib=500))])[0]


@pytest.mark.parametrize(
    ("begin", "lines"),
    [
        pytest.param(
            training, [f"training is allowed (since {SINCE})", "study heart-1: training"], id="it does"
        ),
        pytest.param(site, [f"no training: others use the CPU (since {SINCE})"], id="no number"),
        pytest.param(
            low_memory,
            [
                f"no training: 500 MiB memory available, 1024 MiB must stay free (since {SINCE})",
                "  signal memory: 500, threshold 1024",
                "study heart-1: ready to train",
            ],
            id="it does not",
        ),
        pytest.param(
            lambda: site(studies={NAME: noted()}),
            [
                f"no training: others use the CPU (since {SINCE})",
                "study heart-1: ready to train; waits for rain",
            ],
            id="a study that waits",
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
    assert "is it another version? restart it" in capsys.readouterr().err
