# SPDX-License-Identifier: Apache-2.0
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fedagent import VERSION
from fedagent.cli import main as cli
from fedagent.cli.main import COMMANDS, main

DAEMON = ("status", "why", "pause", "resume", "study list", "study show heart-1")


def words(line: str, config: Path) -> list[str]:
    return [*line.split(), "--config", str(config)]


# --- exit codes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "says"),
    [
        pytest.param("", "no command is given; fedagent --help", id="no command"),
        pytest.param("statsu", "there is no command 'statsu'; did you mean 'status'?", id="almost a command"),
        pytest.param("frobnicate", "there is no command 'frobnicate'; fedagent --help", id="no such command"),
        pytest.param("--bogus", "unrecognized arguments: --bogus", id="an option of nothing"),
        pytest.param("status --bogus", "fedagent status --help shows what there is", id="no such option"),
        pytest.param("status too many", "unrecognized arguments", id="too many words"),
        pytest.param("study", "required: list|show|approve|revoke", id="no action"),
        pytest.param("study burn", "invalid choice: 'burn'", id="no such action"),
        pytest.param("config", "required: check|show", id="config what"),
        pytest.param("study approve heart-1 --rounds many", "invalid int value: 'many'", id="no number"),
    ],
)
def test_wrong_usage_is_64_and_one_line(capsys: pytest.CaptureFixture[str], line: str, says: str) -> None:
    assert main(line.split()) == 64
    told = capsys.readouterr()
    assert told.out == ""
    assert re.fullmatch(r"fedagent: [^\n]*\n", told.err)
    assert says in told.err


@pytest.mark.parametrize("line", DAEMON)
def test_without_a_daemon_it_is_69(config: Path, capsys: pytest.CaptureFixture[str], line: str) -> None:
    assert main(words(line, config)) == 69
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == (
        f"fedagent: fedagent is not running (nobody answers at {config.parent}/run/control.sock); "
        "systemctl start fedagent [FA4605]\n"
    )


@pytest.mark.parametrize("line", ["config check", "config show", *DAEMON, "run"])
@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(
            'site.nmae = "a-clinic"\n', "site.nmae: unknown key; did you mean 'name'?", id="a mistyped key"
        ),
        pytest.param(
            'site.name = "clinic-a"\nbroker.host = "b"\ngovernor.cpu_samples = 0\n',
            "governor.cpu_samples: expected integer >= 1",
            id="out of range",
        ),
        pytest.param("site = [\n", "is not TOML", id="no TOML"),
    ],
)
def test_wrong_settings_are_78_with_file_and_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, text: str, says: str
) -> None:
    config = tmp_path / "fedagent.toml"
    config.write_text(text)
    assert main(words(line, config)) == 78
    told = capsys.readouterr()
    assert told.out == ""
    assert re.fullmatch(r"fedagent: [^\n]*\n", told.err)
    assert str(config) in told.err
    assert says in told.err


def test_missing_settings_are_78(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "fedagent.toml"
    assert main(words("config check", missing)) == 78
    assert capsys.readouterr().err == (
        f"fedagent: cannot read {missing}: No such file or directory; correct its name or permissions [FA2001]\n"
    )


def test_success_is_0(config: Path) -> None:
    assert main(["version"]) == 0
    assert main(words("config check", config)) == 0


def test_an_interrupt_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("fedagent.cli.version.run", interrupted)
    assert main(["version"]) == 130


def test_a_fault_of_ours_is_1_and_asks_for_a_report(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: object) -> int:
        return 1 // 0

    monkeypatch.setattr("fedagent.cli.version.run", broken)
    assert main(["version"]) == 1
    assert "this is a fault of fedagent; please report it" in caplog.text
    assert "ZeroDivisionError" in caplog.text


# --- help ---------------------------------------------------------------------------------------------------------------


def helped(capsys: pytest.CaptureFixture[str], *line: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main([*line, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_help_lists_every_command_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    text = helped(capsys)
    for name, command in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(command.summary)}$", text, flags=re.MULTILINE)
    assert "exit codes: 0 done, 1 failed, 64 usage, 69 unavailable, 78 configuration\n" in text
    assert text.startswith("usage: fedagent COMMAND [OPTION ...]\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str], name: str) -> None:
    text = helped(capsys, name)
    assert text.startswith(f"usage: fedagent {name} ")
    assert COMMANDS[name].summary in " ".join(text.split())


def test_the_version_is_an_option_too(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"fedagent {VERSION}\n"


# --- as a program ---------------------------------------------------------------------------------------------------------

PROGRAM = [sys.executable, "-m", "fedagent.cli.main"]


def test_a_pipe_that_nobody_reads_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ran = subprocess.run(
            [*PROGRAM, "version", "--json"], stdout=writing, stderr=subprocess.PIPE, check=False, timeout=60
        )
    finally:
        os.close(writing)
    assert (ran.returncode, ran.stderr) == (0, b"")


def test_a_command_loads_only_what_it_needs() -> None:
    script = (
        "import sys\nfrom fedagent.cli.main import main\nmain(['version'])\n"
        "print(sorted({'asyncio', 'cryptography', 'paho', 'torch', 'numpy', 'rich'} & sys.modules.keys()))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60
    )
    assert ran.stdout.splitlines()[-1] == "[]"


def test_the_program_is_main(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["fedagent", "version"])
    assert cli.main() == 0
    assert capsys.readouterr().out.startswith(f"fedagent {VERSION}")
