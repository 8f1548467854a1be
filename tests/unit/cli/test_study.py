# SPDX-License-Identifier: Apache-2.0
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from fedagent.cli.main import main
from fedagent.cli.study import describe
from fedagent.core.state import AgentState
from fedagent.site import control, operator
from fedagent.storage.settings import read_approval
from fedagent.wire.study import study_digest
from tests.fakes import examples
from tests.fakes.daemon import FakeDaemon, write_settings
from tests.fakes.scenes import NAME, STUDY, announcement, heard, named, play, site, waiting

DIGEST = study_digest(STUDY).hex()

NUMBERS = "the number of training rows, and metrics over at least 20 patients"


def run(config: Path, *line: str, state: AgentState | None = None) -> int:
    with FakeDaemon(config.parent / "run", state or waiting()):
        return main(["study", *line, "--config", str(config)])


@pytest.fixture
def dataset(config: Path) -> None:
    (config.parent / "datasets.d" / "cardiology.toml").write_text("")


def approved(config: Path) -> Path:
    return config.parent / "approvals.d" / f"{NAME}.toml"


# --- list and show ------------------------------------------------------------------------------------------------------


def test_studies_are_listed(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state, _ = play(waiting(), [heard(announcement(2, named("lung-1")))])
    assert run(config, "list", state=state) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{'heart-1':<32} round 1 of 10  waiting for approval",
        f"{'lung-1':<32} round 2 of 10  waiting for approval",
    ]


def test_no_study_is_said_so(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(config, "list", state=site()) == 0
    assert capsys.readouterr().out == (
        "no study is known here: the aggregator has announced none for this site yet\n"
    )


def test_studies_for_programs(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(config, "list", "--json") == 0
    (study,) = json.loads(capsys.readouterr().out)
    assert (study["study"], study["digest"]) == (NAME, DIGEST)


def test_a_study_is_shown_as_what_it_runs_reads_and_sends(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(config, "show", NAME) == 0
    assert capsys.readouterr().out.splitlines() == [
        "study       heart-1",
        f"digest      {DIGEST}",
        "purpose     Predict heart disease from thirteen routine values.",
        "contact     study@example.org",
        "task        tabular-classifier version 1",
        "reads       age, chest_pain, angina",
        "predicts    disease (no, yes)",
        "local work  2 epochs a round, batches of 32",
        "rounds      10, sites clinic-a, clinic-b, clinic-c, at least 2 of them",
        f"leaves      the model's update (encrypted to the aggregator), clipped to a norm of 1.5, {NUMBERS}",
        "now         study heart-1 is not approved here; sudo fedagent study approve heart-1 --dataset NAME",
    ]


def test_a_study_for_programs(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(config, "show", NAME, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["study"]["name"], told["digest"]) == (NAME, DIGEST)


def test_a_study_that_reads_nothing_says_so() -> None:
    lines = describe(examples.OTHER_STUDY, "00")
    assert "reads       no patient data" in lines
    assert not any(line.startswith(("predicts", "local work")) for line in lines)


def test_a_study_cannot_write_over_what_root_reads(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state, _ = play(site(), [heard(announcement(1, named(NAME, purpose="Good.\ndigest      \x1b[31m00")))])
    assert run(config, "show", NAME, state=state) == 0
    assert "purpose     Good.\ufffddigest      \ufffd[31m00\n" in capsys.readouterr().out


@pytest.mark.parametrize("action", ["show", "approve"])
def test_a_study_that_is_not_known_is_no_fault_of_ours(
    config: Path, capsys: pytest.CaptureFixture[str], action: str
) -> None:
    assert run(config, action, "lung-1", "--dataset", "cardiology") == 64
    assert capsys.readouterr().err == (
        "fedagent: no study 'lung-1' is known here; fedagent study list shows those that are [FA7607]\n"
    )


def test_an_answer_of_another_kind_is_another_version(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operator, "answer", lambda *_: (control.Done(text="?"), None))
    assert run(config, "show", NAME) == 69
    assert "is it of another version? restart it [FA4606]" in capsys.readouterr().err


# --- approve ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("dataset")
def test_an_approval_binds_to_what_was_shown(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(config, "approve", NAME, "--dataset", "cardiology") == 0
    given = read_approval(approved(config).parent, NAME)
    assert given is not None
    assert (given.digest, given.dataset, given.rounds) == (DIGEST, "cardiology", None)
    assert approved(config).stat().st_mode & 0o777 == 0o644
    out = capsys.readouterr().out
    assert f"digest      {DIGEST}\n" in out
    assert out.endswith(f"approved    for dataset cardiology by {given.approved_by}\n")


@pytest.mark.usefixtures("dataset")
@pytest.mark.parametrize(
    ("environment", "name"),
    [
        pytest.param({"SUDO_USER": "anna", "USER": "root"}, "anna", id="who used sudo"),
        pytest.param({"USER": "root"}, "root", id="who is logged in"),
        pytest.param({}, str(os.getuid()), id="a number at least"),
    ],
)
def test_an_approval_names_who_gave_it(
    config: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], name: str
) -> None:
    for variable in ("SUDO_USER", "USER"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    assert run(config, "approve", NAME, "--dataset", "cardiology", "--rounds", "3") == 0
    given = read_approval(approved(config).parent, NAME)
    assert given is not None
    assert (given.approved_by, given.rounds) == (name, 3)


@pytest.mark.usefixtures("dataset")
@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        pytest.param([], 64, "it is not said which data study heart-1 may read; fedagent study approve heart-1 --dataset NAME", id="no dataset"),
        pytest.param(["--dataset", "oncology"], 78, "there is no dataset 'oncology'", id="no such dataset"),
        pytest.param(["--dataset", "../cardiology"], 64, "'../cardiology' cannot be a dataset's name", id="a path"),
        pytest.param(["--dataset", "cardiology", "--rounds", "0"], 64, "--rounds 0: must be at least 1; to end the study here: fedagent study revoke heart-1", id="no round"),
    ],
)  # fmt: skip
def test_an_approval_that_makes_no_sense_is_not_given(
    config: Path, capsys: pytest.CaptureFixture[str], options: list[str], code: int, says: str
) -> None:
    assert run(config, "approve", NAME, *options) == code
    assert says in capsys.readouterr().err
    assert not approved(config).exists()


@pytest.mark.parametrize("action", ["show", "approve", "revoke"])
@pytest.mark.parametrize(
    ("name", "says"),
    [
        pytest.param([], "no study is named; fedagent study {} NAME", id="none"),
        pytest.param(["../../etc/passwd"], "'../../etc/passwd' cannot be a study's name", id="a path"),
    ],
)
def test_a_study_must_be_named(
    config: Path, capsys: pytest.CaptureFixture[str], action: str, name: list[str], says: str
) -> None:
    assert main(["study", action, *name, "--config", str(config)]) == 64
    assert says.format(action) in capsys.readouterr().err


AS_NOBODY = """
import os, shutil, sys
import fedagent.cli.study, fedagent.cli.main
os.setgroups([]); os.setgid(65534); os.setuid(65534)
sys.exit(fedagent.cli.main.main(sys.argv[1:]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize(
    ("line", "closed", "says"),
    [
        pytest.param(["approve", NAME, "--dataset", "cardiology"], "datasets.d", "cannot look into", id="datasets"),
        pytest.param(["approve", NAME, "--dataset", "cardiology"], None, "cannot write", id="approvals"),
        pytest.param(["revoke", NAME], None, "cannot remove", id="revoke"),
    ],
)  # fmt: skip
def test_only_root_approves_and_revokes(line: list[str], closed: str | None, says: str) -> None:
    with TemporaryDirectory() as folder:  # nobody may not enter the folders of pytest
        config = write_settings(Path(folder))
        config.parent.chmod(0o755)
        (config.parent / "datasets.d" / "cardiology.toml").write_text("")
        approved(config).write_text("untouched")
        if closed is not None:
            (config.parent / closed).chmod(0o700)
        command = [sys.executable, "-c", AS_NOBODY, "study", *line, "--config", str(config)]
        with FakeDaemon(config.parent / "run", waiting()):
            ran = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        assert approved(config).read_text() == "untouched"
    assert ran.returncode == 1
    assert says in ran.stderr
    assert "fault of fedagent" not in ran.stderr


# --- revoke -------------------------------------------------------------------------------------------------------------


def test_a_study_is_revoked_without_a_daemon(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    approved(config).write_text("")
    assert main(["study", "revoke", NAME, "--config", str(config)]) == 0
    assert not approved(config).exists()
    assert capsys.readouterr().out == "revoked     heart-1: its work here stops now\n"


def test_what_was_not_approved_cannot_be_revoked(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "revoke", NAME, "--config", str(config)]) == 1
    assert "study heart-1 is not approved here: there is nothing to revoke" in capsys.readouterr().err
