# SPDX-License-Identifier: Apache-2.0
"""The systemd units as systemd itself reads them, without a booted machine."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "systemd"
OURS = ("/usr/bin/fedagent", "/usr/bin/fedaggregator", "/usr/lib/fedagent/bin/")

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this machine"
)


def analyze(*words: str) -> str:
    done = subprocess.run(
        ["systemd-analyze", *words], capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout + done.stderr


def names() -> list[str]:
    return sorted(path.name for path in UNITS.iterdir() if path.suffix in {".service", ".socket", ".slice"})


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units where every program that they start is there."""
    for name in names():
        text = (UNITS / name).read_text(encoding="utf-8")
        for program in OURS:
            text = re.sub(rf"=({re.escape(program)}[\w-]*)", "=/bin/true", text)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


@needs_systemd
def test_systemd_reads_every_unit_without_a_warning(installed: Path) -> None:
    assert analyze("verify", "--man=no", *(str(installed / name) for name in names())) == ""


@needs_systemd
def test_a_directive_that_systemd_does_not_know_would_be_seen(installed: Path) -> None:
    unit = installed / "fedagent.service"
    unit.write_text(unit.read_text(encoding="utf-8").replace("ProtectHome=", "ProtectHouse="))
    assert "ProtectHouse" in analyze("verify", "--man=no", str(unit))


@needs_systemd
@pytest.mark.parametrize(
    ("unit", "most"),
    [
        ("fedagent.service", 1.6),
        ("fedagent-trainer@.service", 0.9),
        ("fedagent-snapshot@.service", 1.0),
        ("fedaggregator.service", 1.8),
    ],
)
def test_the_sandbox_is_as_tight_as_promised(unit: str, most: float) -> None:
    said = analyze("security", "--offline=true", "--no-pager", str(UNITS / unit))
    found = re.search(r"Overall exposure level for .*: ([0-9.]+)", said)
    assert found, said
    assert float(found.group(1)) <= most


def test_every_service_is_scored() -> None:
    services = {name for name in names() if name.endswith(".service")}
    assert services == {
        "fedagent.service",
        "fedagent-trainer@.service",
        "fedagent-snapshot@.service",
        "fedaggregator.service",
    }


def directives(unit: str) -> list[str]:
    lines = (UNITS / unit).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith(("#", "["))]


def test_nobody_can_start_a_trainer_while_the_agent_is_down() -> None:
    assert "PartOf=fedagent.service" in directives("fedagent-trainer.socket")
    assert "BindsTo=fedagent.service" in directives("fedagent-trainer@.service")
    assert not any(line.startswith("WantedBy=") for line in directives("fedagent-trainer.socket"))


@pytest.mark.parametrize("unit", ["fedagent.service", "fedaggregator.service"])
def test_a_service_that_is_not_configured_is_skipped_and_a_wrong_file_is_not_tried_again(unit: str) -> None:
    name = unit.removesuffix(".service")
    assert f"ConditionPathExists=/etc/{name}/{name}.toml" in directives(unit)
    assert "RestartPreventExitStatus=78" in directives(unit)


def test_an_older_systemd_keeps_the_least_weight_where_it_does_not_know_idle() -> None:
    weights = [line for line in directives("fedagent.slice") if line.startswith("CPUWeight=")]
    assert weights == ["CPUWeight=1", "CPUWeight=idle"]
