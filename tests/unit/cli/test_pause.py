# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from fedagent.cli.main import main
from fedagent.cli.pause import seconds
from fedagent.errors import UsageError
from fedagent.site import control
from tests.fakes.daemon import FakeDaemon
from tests.fakes.scenes import at, training


@pytest.mark.parametrize(
    ("text", "value"),
    [("90s", 90.0), ("30m", 1800.0), ("1.5h", 5400.0), ("2d", 172_800.0), ("365d", 31_536_000.0)],
)
def test_a_time_is_a_number_and_a_unit(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize(
    "text", ["", "30", "m", "-5m", "5 m", "5w", "1e3s", "five minutes", "0s", "366d", "9" * 400 + "d"]
)
def test_other_words_are_no_time(text: str) -> None:
    with pytest.raises(UsageError, match="--for"):
        seconds(text)


@pytest.mark.parametrize(
    ("options", "until", "reason", "says"),
    [
        pytest.param([], None, "", "paused until fedagent resume\n", id="until resumed"),
        pytest.param(["--for", "30m"], at(1800).wall, "", "paused for 30m\n", id="for a time"),
        pytest.param(["--reason", "MRI at 14"], None, "MRI at 14", "paused until fedagent resume\n", id="with a reason"),
    ],
)  # fmt: skip
def test_training_pauses(
    config: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    until: float | None,
    reason: str,
    says: str,
) -> None:
    with FakeDaemon(config.parent / "run", training()) as daemon:
        assert main(["pause", "--config", str(config), *options]) == 0
    pause = daemon.state.record.pause
    assert pause is not None
    assert (pause.until, pause.reason) == (until, reason)
    assert capsys.readouterr().out == says


def test_training_resumes(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with FakeDaemon(config.parent / "run", training()) as daemon:
        assert main(["pause", "--config", str(config)]) == 0
        assert main(["resume", "--config", str(config)]) == 0
    assert daemon.state.record.pause is None
    assert capsys.readouterr().out == "paused until fedagent resume\nresumed\n"


def test_who_may_not_is_told_so(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "_may_administrate", lambda *_: False)
    with FakeDaemon(config.parent / "run", training()) as daemon:
        assert main(["pause", "--config", str(config)]) == 1
    assert daemon.state.record.pause is None
    assert capsys.readouterr().err == (
        "fedagent: only root and group fedagent-admin may pause and resume; try sudo [FA7606]\n"
    )


def test_a_time_that_is_none_asks_nobody(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pause", "--config", str(config), "--for", "soon"]) == 64
    assert "write a number and s, m, h or d" in capsys.readouterr().err
