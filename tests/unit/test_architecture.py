# SPDX-License-Identifier: Apache-2.0
"""The diagrams in ``ARCHITECTURE.md`` are those of the tables, and every test that it names is there.

``make diagrams`` writes them anew.
"""

import os
import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

import pytest

from fedagent.aggregator.tables import PART_TABLE, ROUND_TABLE
from fedagent.core.round import TABLE

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "ARCHITECTURE.md"
DIAGRAMS: dict[str, Mapping[tuple[StrEnum, StrEnum], StrEnum]] = {
    "site": {(phase, trigger): after for (phase, trigger), after in TABLE.items()},
    "part": {(phase, event): after for (phase, event), after in PART_TABLE.items()},
    "round": {(phase, event): after for (phase, event), after in ROUND_TABLE.items()},
}


def diagram(table: Mapping[tuple[StrEnum, StrEnum], StrEnum]) -> str:
    """The table as a Mermaid state diagram: one arrow for all events between two phases, none from a phase to itself."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for (phase, event), after in table.items():
        if phase is not after:
            arrows.setdefault((phase.name, after.name), []).append(event.value)
    lines = [f"    {source} --> {target}: {', '.join(events)}" for (source, target), events in arrows.items()]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```"])


@pytest.mark.parametrize("name", DIAGRAMS)
def test_the_page_shows_the_table(name: str) -> None:
    text = PAGE.read_text()
    block = re.compile(rf"(<!-- diagram: {name} -->\n)(.*?)(<!-- end -->)", re.DOTALL)
    wanted = diagram(DIAGRAMS[name]) + "\n"
    if "WRITE_DIAGRAMS" in os.environ:
        PAGE.write_text(block.sub(lambda match: match[1] + wanted + match[3], text))
        return
    found = block.search(text)
    assert found, f"no diagram of {name}"
    assert found[2] == wanted, "make diagrams writes it anew"


def test_every_test_that_guards_an_invariant_exists() -> None:
    named = re.findall(r"`(tests/[^`]+\.py)`", PAGE.read_text())
    assert named
    assert [name for name in named if not (ROOT / name).is_file()] == []
