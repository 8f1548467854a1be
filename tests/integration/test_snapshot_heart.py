# SPDX-License-Identifier: Apache-2.0
"""Snapshots of the four hospitals of UCI's Heart Disease data, as they were published: no header, ``?`` is missing."""

import os
from pathlib import Path

import numpy as np
import pytest

from tests.fakes.datasets import DataHospital

NAMES = (
    "age", "sex", "cp", "trestbps", "chol", "fbs", "restecg", "thalach", "exang", "oldpeak", "slope", "ca", "thal", "num",
)  # fmt: skip
CODES = {"1": "typical", "2": "atypical", "3": "non-anginal", "4": "asymptomatic"}
COLUMNS = {
    **{name: {"type": "number"} for name in ("age", "trestbps", "chol", "thalach", "oldpeak", "restecg")},
    **{name: {"type": "boolean"} for name in ("sex", "fbs", "exang")},
    "cp": {"type": "text", "values": CODES},
    "disease": {"from": "num", "type": "text", "values": {"0": "no"} | dict.fromkeys("1234", "yes")},
}


@pytest.fixture(scope="module")
def data() -> Path:
    """The folder with the four files."""
    root = Path(__file__).parents[2]
    folder = Path(os.environ.get("FEDAGENT_TEST_DATA", root.parent / "shared" / "data")) / "heart"
    if not (folder / "processed.cleveland.data").exists():
        pytest.skip(
            f"UCI Heart Disease is not in {folder}: set FEDAGENT_TEST_DATA to the folder that holds heart/"
        )
    return folder


@pytest.fixture
def hospital(tmp_path: Path) -> DataHospital:
    return DataHospital(tmp_path / "hospital")


def source(data: Path, centre: str) -> dict[str, object]:
    return {
        "kind": "csv",
        "path": str(data / f"processed.{centre}.data"),
        "header": False,
        "columns": list(NAMES),
    }


@pytest.mark.parametrize(
    ("centre", "rows", "complete", "ill"),
    [
        ("cleveland", 303, 303, 139),
        ("hungarian", 294, 261, 106),
        ("switzerland", 123, 46, 115),
        ("va", 200, 130, 149),
    ],
)
def test_every_centre_gives_the_published_rows(
    data: Path, hospital: DataHospital, centre: str, rows: int, complete: int, ill: int
) -> None:
    hospital.define("heart", [source(data, centre)], COLUMNS)
    assert hospital.make().record.rows == rows
    columns = hospital.columns(*COLUMNS)
    known = ~np.any([np.ma.getmaskarray(column) for column in columns.values()], axis=0)
    assert int(np.sum(known)) == complete
    assert columns["disease"].tolist().count("yes") == ill


def test_a_code_is_the_same_whether_written_4_or_4_0(data: Path, hospital: DataHospital) -> None:
    counts = {}
    for centre, code in (("cleveland", "4.0"), ("hungarian", "4")):
        hospital.define("heart", [source(data, centre)], COLUMNS)
        hospital.make()
        lines = (data / f"processed.{centre}.data").read_text().splitlines()
        counts[centre] = (
            hospital.columns("cp")["cp"].tolist().count("asymptomatic"),
            sum(line.split(",")[2] == code for line in lines),
        )
    assert all(ours == theirs > 0 for ours, theirs in counts.values())


def test_four_files_are_one_dataset(data: Path, hospital: DataHospital) -> None:
    centres = ("cleveland", "hungarian", "switzerland", "va")
    hospital.define("heart", [source(data, centre) for centre in centres], COLUMNS)
    record = hospital.make().record
    assert (record.rows, record.note.patients) == (920, 920)
