# SPDX-License-Identifier: Apache-2.0
"""The picture is well-formed, holds every point, and says what each line is."""

from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from fedagent.demo.picture import HEIGHT, WIDTH, draw

SVG = "{http://www.w3.org/2000/svg}"


def test_every_curve_and_level_has_its_line_and_its_name() -> None:
    curves = {"all": [(0, 0.5), (1, 0.75), (2, 0.875)], "a & b": [(0, 0.25), (2, 0.5)]}
    root = ET.fromstring(draw("AUC <of> a model", "AUC", curves, levels={"pooled": 0.9}))  # noqa: S314 (our own text)
    lines = root.findall(f"{SVG}polyline")
    assert [len(line.attrib["points"].split()) for line in lines] == [3, 2]
    texts = {text.text for text in root.findall(f"{SVG}text")}
    assert {"AUC <of> a model", "AUC", "all", "a & b", "pooled"} <= texts


@given(
    st.dictionaries(
        st.sampled_from(["a", "b", "c"]),
        st.lists(st.tuples(st.integers(0, 1000), st.floats(0, 1)), min_size=1, max_size=20),
    ),
    st.dictionaries(st.sampled_from(["x", "y"]), st.floats(0, 1)),
)
def test_all_points_lie_in_the_picture(
    curves: dict[str, list[tuple[int, float]]], levels: dict[str, float]
) -> None:
    root = ET.fromstring(draw("t", "v", curves, levels=levels))  # noqa: S314 (our own text)
    for line in root.findall(f"{SVG}polyline"):
        for point in line.attrib["points"].split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= WIDTH
            assert 0 <= y <= HEIGHT
