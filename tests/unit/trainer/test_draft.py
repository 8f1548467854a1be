# SPDX-License-Identifier: Apache-2.0
"""First definitions for CSV files: they are valid, and hold nothing of the rows."""

import tomllib
from pathlib import Path

import pytest

from fedagent.errors import ConfigurationError, DataError
from fedagent.trainer.draft import draft_definition
from tests.fakes.datasets import DataHospital

TEXT = 'Patient-ID,Age (years),Größe,smokes,Note,note,1st,"a ""b"""\nSENTINEL1,63,1.8,yes,SENTINEL2,x,,1\n9,?,1.7,no,y,z,,2\n'


@pytest.fixture
def hospital(tmp_path: Path) -> DataHospital:
    return DataHospital(tmp_path / "hospital")


def draft(hospital: DataHospital, content: str | bytes, patient: str | None = None) -> str:
    return draft_definition("heart", str(hospital.write("a.csv", content)), patient)


def test_a_draft_has_every_column_with_its_type_and_a_name_that_studies_can_write(
    hospital: DataHospital,
) -> None:
    read = tomllib.loads(draft(hospital, TEXT, "Patient-ID"))
    assert read["patient"] == "Patient-ID"
    assert read["columns"] == {
        "age_years": {"from": "Age (years)", "type": "number"},
        "grosse": {"from": "Größe", "type": "number"},
        "smokes": {"type": "boolean"},
        "note": {"from": "Note", "type": "text"},
        "note_2": {"from": "note", "type": "text"},
        "column_1st": {"from": "1st", "type": "text"},
        "a_b": {"from": 'a "b"', "type": "number"},
    }


def test_a_draft_holds_no_value(hospital: DataHospital) -> None:
    assert "SENTINEL" not in draft(hospital, TEXT, "Patient-ID")


def test_a_draft_makes_a_snapshot_as_it_is(hospital: DataHospital) -> None:
    (hospital.datasets / "heart.toml").write_text(draft(hospital, TEXT, "Patient-ID"))
    assert hospital.make().record.rows == 2


def test_semicolons_commas_and_latin1_are_found(hospital: DataHospital) -> None:
    text = draft(hospital, "größe;ort\n1,5;Köln\n2;Bonn\n".encode("latin-1"))
    assert tomllib.loads(text)["source"][0] | {"path": "", "missing": []} == {
        "kind": "csv", "path": "", "missing": [], "delimiter": ";", "encoding": "latin-1", "decimal": ",",
    }  # fmt: skip
    (hospital.datasets / "heart.toml").write_text(text)
    hospital.make()
    assert set(hospital.columns("ort")["ort"].tolist()) == {"Köln", "Bonn"}


def test_a_first_line_that_is_data_is_refused(hospital: DataHospital) -> None:
    with pytest.raises(DataError, match=r"a\.csv:1 holds numbers, so it seems to be data") as caught:
        draft(hospital, "63.5,m\n64,f\n")
    assert "63.5" not in str(caught.value)


def test_a_patient_column_that_is_not_there_is_refused(hospital: DataHospital) -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'Patient-ID'"):
        draft(hospital, TEXT, "patient-id")


def test_a_broken_row_is_told_with_its_line(hospital: DataHospital) -> None:
    with pytest.raises(DataError, match=r"a\.csv:3 has 1 columns, expected are 2"):
        draft(hospital, "a,b\n1,2\nSENTINEL\n")
