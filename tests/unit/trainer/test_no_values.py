# SPDX-License-Identifier: Apache-2.0
"""Whatever is wrong with a hospital's data, no message holds a patient's value."""

import contextlib
import io
import tempfile
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from fedagent.trainer.snapshot import main
from tests.fakes.datasets import STUDY, DataHospital

SENTINELS = ("SENTINEL", "SENTIN€L", "77123.25")
ODD = st.sampled_from(
    [*SENTINELS, "", "no", "yes", '"', "'", '""', "\r", "\x00", "1;2", "\\", "%s", "{0}", "`"]
)
CELLS = st.one_of(st.sampled_from(["1", "yes", *SENTINELS]), st.lists(ODD, max_size=3).map("".join))
ROWS = st.lists(
    st.one_of(st.lists(CELLS, min_size=3, max_size=3), st.lists(CELLS, min_size=1, max_size=4)).map(",".join),
    max_size=6,
)
SHAPES = st.fixed_dictionaries(
    {
        "encoding": st.sampled_from(["utf-8", "latin-1", "cp1252", "utf-16"]),
        "declared": st.sampled_from(["utf-8", "latin-1"]),
        "header": st.booleans(),
        "first line": st.booleans(),
        "type": st.sampled_from(["number", "text", "boolean"]),
        "values": st.sampled_from([{}, {"1": "yes"}]),
        "patient": st.booleans(),
    }
)

PLAIN: dict[str, object] = {
    "encoding": "utf-8",
    "declared": "utf-8",
    "header": True,
    "first line": True,
    "type": "number",
    "values": {},
    "patient": True,
}


@settings(max_examples=40, deadline=None)
@given(ROWS, SHAPES)
@example(["1,2,3", '1,"SENTINEL,3'], PLAIN)
@example(["1,2,3", 'SENTINEL,"2"x,3'], PLAIN)
@example(["1,2,3", "SENTINEL,2"], PLAIN)
@example(["1,SENTINEL,3"], PLAIN)
@example(["1,SENTINEL,3"], PLAIN | {"type": "text", "values": {"1": "yes"}})
@example(["1,2,SENTIN€L"], PLAIN | {"encoding": "cp1252"})
@example(["SENTINEL,1,2"], PLAIN | {"first line": False})
def test_no_message_holds_a_value(rows: list[str], shape: dict[str, object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        hospital = DataHospital(Path(folder) / "hospital")
        text = "\n".join([*(["mrn,age,ill"] if shape["first line"] else []), *rows])
        source: dict[str, object] = {"encoding": shape["declared"], "header": shape["header"]}
        if not shape["header"]:
            source["columns"] = ["mrn", "age", "ill"]
        age = {"type": shape["type"]} | ({"values": shape["values"]} if shape["type"] == "text" else {})
        columns = {"age": age, "ill": {"type": "text"}}
        patient = {"patient": "mrn"} if shape["patient"] else {}
        hospital.define_csv(text.encode(str(shape["encoding"]), "replace"), columns, source=source, **patient)
        study = hospital.write("study.toml", STUDY)
        printed = [
            run(hospital, "heart"),
            run(hospital, "heart", "--json"),
            run(hospital, "heart", "--check", str(study)),
            run(hospital, "--list"),
        ]
        if shape["first line"]:  # else a draft takes the first row for names
            printed.append(run(hospital, "new", "--draft", str(hospital.folder / "heart.csv")))
    assert not [output for output in printed for sentinel in SENTINELS if sentinel in output]
    assert not [output for output in printed if "Traceback" in output]


def run(hospital: DataHospital, *words: str) -> str:
    """All that the program prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        main(["--config", str(hospital.config), *words])
    return printed.getvalue()
