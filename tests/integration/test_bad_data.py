# SPDX-License-Identifier: Apache-2.0
"""Data that cannot be used: the snapshot program says one line, ends with its code, and changes nothing.

Rule: each line is the whole of standard error, and none holds a value of a patient.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from fedagent.cli.main import main
from tests.fakes.contents import contents
from tests.fakes.datasets import DataHospital

AGE = {"age": {"type": "number"}}
AGE_AND_SEX = {"age": {"type": "number"}, "sex": {"type": "text", "values": {"1": "f", "2": "m"}}}
GOOD = "id,age,sex\n1,44,1\n2,55,2\n"


class Case(NamedTuple):
    """What is done to a hospital that has a snapshot, and what its administrator then reads.

    Attributes:
        line: without the folder, which stands as ``{}``.
    """

    name: str
    spoil: Callable[[DataHospital], object]
    line: str
    exit_code: int


def csv(text: str | bytes, **source: object) -> Callable[[DataHospital], object]:
    return lambda hospital: hospital.define_csv(text, AGE_AND_SEX, source=source, patient="id")


def remove(hospital: DataHospital) -> None:
    (hospital.folder / "heart.csv").unlink()


def forbid_opt_out(hospital: DataHospital) -> None:
    hospital.define_csv(GOOD, AGE_AND_SEX, patient="id", opt_out=str(hospital.folder / "absent.txt"))


def everybody_opted_out(hospital: DataHospital) -> None:
    path = hospital.write("opt-out.txt", "1\n2\n")
    hospital.define_csv(GOOD, AGE_AND_SEX, patient="id", opt_out=str(path))


def no_parquet(hospital: DataHospital) -> None:
    path = hospital.write("heart.parquet", "PAR1 but not really")
    hospital.define("heart", [{"kind": "parquet", "path": str(path)}], AGE)


def folder(hospital: DataHospital) -> None:
    (hospital.folder / "data").mkdir()
    hospital.define("heart", [{"kind": "csv", "path": str(hospital.folder / "data")}], AGE)


CASES = [
    Case("a missing file", remove, "fedagent: there is no file {}/heart.csv; correct the path [FA6333]", 1),
    Case("a folder", folder, "fedagent: {}/data is not a file; correct the path [FA6334]", 1),
    Case("an empty file", csv(""), "fedagent: {}/heart.csv has no header line; is it empty? [FA6341]", 1),
    Case(
        "zero rows",
        csv("id,age,sex\n"),
        "fedagent: dataset heart: no rows are left: its sources are empty; look at `path` or `query` [FA6312]",
        1,
    ),
    Case(
        "a missing column",
        csv("id,agee,sex\n1,44,1\n"),
        "fedagent: {}/heart.csv has no column 'age' (columns.age); did you mean 'agee'? [FA6337]",
        78,
    ),
    Case(
        "a column twice",
        csv("id,age,age,sex\n1,44,44,1\n"),
        "fedagent: {}/heart.csv has more than one column 'age' (columns.age); rename them there [FA6335]",
        78,
    ),
    Case(
        "no header line",
        csv("1,44,1\n2,55,2\n"),
        "fedagent: {}/heart.csv has no column 'id' (patient): its first line seems to be data; without a header line set header = false and `columns` [FA6336]",
        78,
    ),
    Case(
        "text for a number",
        csv("id,age,sex\n1,44,1\n2,secret,2\n"),
        'fedagent: column age: fewer than 10 rows of {}/heart.csv (the first is row 2) are not a number; add the code for "not known" to `missing`, or set type = "text" [FA6331]',
        1,
    ),
    Case(
        "a code that is not mapped",
        csv("id,age,sex\n1,44,1\n2,55,9\n"),
        'fedagent: column sex: fewer than 10 rows of {}/heart.csv (the first is row 2) hold a code that columns.sex.values does not list; add it there (= "" if it means not known) [FA6330]',
        1,
    ),
    Case(
        "mixed encodings",
        csv(b"id,age,sex\n1,44,1\n" + "2,55,\xe4\n".encode("latin-1")),
        'fedagent: {}/heart.csv:3 is not UTF-8; save it as UTF-8, or set encoding = "latin-1" for this source [FA6348]',
        1,
    ),
    Case(
        "UTF-16", csv(GOOD.encode("utf-16")), "fedagent: {}/heart.csv is UTF-16; save it as UTF-8 [FA6343]", 1
    ),
    Case(
        "a NUL byte",
        csv(b"id,age,sex\n1,4\x004,1\n"),
        "fedagent: {}/heart.csv:2 is longer than 2000000 bytes or holds a NUL byte; is it a CSV file? [FA6344]",
        1,
    ),
    Case(
        "a short line",
        csv("id,age,sex\n1,44,1\n2,55\n"),
        "fedagent: {}/heart.csv:3 has 2 columns, expected are 3; correct the file, or `columns` and `delimiter` [FA6349]",
        1,
    ),
    Case(
        "a long line",
        csv("id,age,sex\n1,44,1\n2,55,2,7\n"),
        "fedagent: {}/heart.csv:3 has 4 columns, expected are 3; correct the file, or `columns` and `delimiter` [FA6349]",
        1,
    ),
    Case(
        "an open quote",
        csv('id,age,sex\n1,44,1\n2,"55,2\n'),
        "fedagent: {}/heart.csv:3 cannot be read; check its quotes and its delimiter [FA6351]",
        1,
    ),
    Case(
        "another delimiter",
        csv(GOOD.replace(",", ";")),
        "fedagent: {}/heart.csv has no column 'id' (patient); correct `from` or `delimiter` in the dataset's file [FA6338]",
        78,
    ),
    Case(
        "no patient",
        csv("id,age,sex\n,44,1\n,55,2\n"),
        "fedagent: dataset heart: no rows are left: the patients of all rows opted out, or their identifier is missing; look at `patient` and `opt_out` [FA6311]",
        1,
    ),
    Case(
        "everybody opted out",
        everybody_opted_out,
        "fedagent: dataset heart: no rows are left: the patients of all rows opted out, or their identifier is missing; look at `patient` and `opt_out` [FA6311]",
        1,
    ),
    Case(
        "no opt-out list",
        forbid_opt_out,
        "fedagent: cannot read the opt-out list {}/absent.txt: No such file or directory; let the trainer's user read it; no snapshot is made without it [FA6328]",
        78,
    ),
    Case(
        "no Parquet",
        no_parquet,
        "fedagent: {}/heart.parquet is not a Parquet file that can be read; write it anew [FA6339]",
        1,
    ),
]


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])
def test_data_that_cannot_be_used_is_one_line_and_changes_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], case: Case
) -> None:
    hospital = DataHospital(tmp_path)
    hospital.define_csv(GOOD, AGE_AND_SEX, patient="id")
    hospital.make()
    case.spoil(hospital)
    before = contents(hospital.folder)
    code = main(["dataset", "snapshot", "heart", "--config", str(hospital.config)])
    said = capfd.readouterr()
    assert said.err == case.line.format(hospital.folder) + "\n"
    assert (said.out, code) == ("", case.exit_code)
    assert contents(hospital.folder) == before
