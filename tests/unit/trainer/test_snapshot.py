# SPDX-License-Identifier: Apache-2.0
"""The snapshot program: what it prints and how it ends."""

from pathlib import Path

import msgspec
import pytest

from fedagent.trainer.snapshot import main
from tests.fakes.datasets import STUDY, DataHospital

TABLE = "mrn,age,ill\n" + "".join(f"{mrn},{20 + mrn},{('no', 'yes')[mrn % 2]}\n" for mrn in range(60))
COLUMNS = {"age": {"type": "number"}, "ill": {"type": "text"}}


@pytest.fixture
def hospital(tmp_path: Path) -> DataHospital:
    hospital = DataHospital(tmp_path / "hospital")
    opt_out = hospital.write("opt-out.txt", "1\n2\n")
    hospital.define_csv(TABLE, COLUMNS, patient="mrn", opt_out=str(opt_out), description="angiographies")
    return hospital


def run(hospital: DataHospital, *words: str) -> int:
    return main(["--config", str(hospital.config), *words])


def read_json(capsys: pytest.CaptureFixture[str]) -> object:
    return msgspec.json.decode(capsys.readouterr().out)


def test_a_snapshot_is_told_in_words(hospital: DataHospital, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(hospital, "heart") == 0
    digest = hospital.record().digest.hex()
    assert capsys.readouterr().out == (
        f"dataset heart: snapshot {digest[:12]}, 58 rows of 58 patients, 2 columns\n"
        "left out: fewer than 10 rows of patients who opted out\n"
    )
    run(hospital, "heart")
    assert "(unchanged)" in capsys.readouterr().out


def test_a_snapshot_is_told_as_json(hospital: DataHospital, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(hospital, "heart", "--json") == 0
    record = hospital.record()
    assert read_json(capsys) == {
        "dataset": "heart",
        "digest": record.digest.hex(),
        "rows": 58,
        "patients": 58,
        "columns": ["age", "ill"],
        "created_at": record.note.created_at,
        "changed": True,
        "opted_out": "fewer than 10",
        "without_patient": 0,
        "evicted": [],
    }


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["lung"], 78, "there is no dataset 'lung'"),
        ([], 64, "which dataset?"),
        (
            ["heart", "--check", "STUDY"],
            1,
            "dataset heart has no snapshot yet; sudo fedagent dataset snapshot heart",
        ),
        (["heart", "--draft", "/nowhere.csv"], 1, "there is no file /nowhere.csv"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(
    hospital: DataHospital, capsys: pytest.CaptureFixture[str], words: list[str], code: int, text: str
) -> None:
    study = hospital.write("study.toml", STUDY)
    assert run(hospital, *[word.replace("STUDY", str(study)) for word in words]) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert text in printed.err
    assert printed.err.count("\n") == 1


def test_a_check_ends_with_whether_it_fits(
    hospital: DataHospital, capsys: pytest.CaptureFixture[str]
) -> None:
    study = hospital.write("study.toml", STUDY)
    run(hospital, "heart")
    capsys.readouterr()
    assert run(hospital, "heart", "--check", str(study)) == 0
    assert "The dataset fits the study." in capsys.readouterr().out
    study.write_text(STUDY.replace('"age"', '"weight"'))
    assert run(hospital, "heart", "--check", str(study), "--json") == 1
    answer = read_json(capsys)
    assert isinstance(answer, dict)
    assert answer["fits"] is False


def test_a_list_has_every_dataset_and_what_is_the_matter_with_it(
    hospital: DataHospital, capsys: pytest.CaptureFixture[str]
) -> None:
    hospital.define_csv(TABLE, COLUMNS, name="new")
    (hospital.datasets / "odd.toml").write_text("name = 3")
    run(hospital, "heart")
    capsys.readouterr()
    assert run(hospital, "--list") == 0
    heart, new, odd = capsys.readouterr().out.splitlines()
    assert heart.startswith(f"heart: snapshot {hospital.record().digest.hex()[:12]}, 58 rows, 20")
    assert new == "new: no snapshot yet"
    assert "odd: no snapshot yet; " in odd
    assert "odd.toml: " in odd
    hospital.define_csv(TABLE, {"age": {"type": "text"}}, patient="mrn")
    run(hospital, "--list", "--json")
    answers = read_json(capsys)
    assert isinstance(answers, list)
    assert [answer["outdated"] for answer in answers] == [True, False, False]


def test_a_list_without_datasets_says_how_to_add_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hospital = DataHospital(tmp_path / "empty")
    assert run(hospital, "--list") == 0
    assert "fedagent dataset add NAME --csv FILE" in capsys.readouterr().out
