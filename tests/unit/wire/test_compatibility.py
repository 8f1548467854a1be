# SPDX-License-Identifier: Apache-2.0
"""A peer that is one version behind reads us, and we read it: what may change without a new protocol version.

tests/data/golden/readers-vN.json is what a program of protocol N reads (``tests/fakes/readers.py``): fields, limits, which
must be there. A test that fails here says that an older peer is not understood any more, or does not understand us: undo
the change, make it a new field with a default, or raise ``PROTOCOL`` as ARCHITECTURE.md says (WRITE_READERS=1 records it).
"""

import copy
import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fedagent.wire.values import PROTOCOL, SPOKEN
from tests.fakes.readers import READ, Reader, differences, readers

GOLDEN = Path(__file__).parents[2] / "data" / "golden"


def recorded(version: int) -> dict[str, Reader]:
    found: dict[str, Reader] = json.loads((GOLDEN / f"readers-v{version}.json").read_text("utf-8"))
    return found


@pytest.mark.parametrize("version", [SPOKEN])
def test_a_program_of_the_version_that_we_speak_reads_us_and_we_it(version: int) -> None:
    if "WRITE_READERS" in os.environ:
        text = json.dumps(readers(), indent=1, sort_keys=True)
        (GOLDEN / f"readers-v{PROTOCOL}.json").write_text(f"{text}\n", "utf-8")
    assert differences(recorded(version), readers()) == []


def test_every_version_that_we_understand_has_its_reader() -> None:
    assert {path.stem for path in GOLDEN.glob("readers-v*.json")} >= {
        f"readers-v{SPOKEN}",
        f"readers-v{PROTOCOL}",
    }
    assert max(1, PROTOCOL - 1) == SPOKEN


def test_a_field_with_a_default_is_not_written_at_its_default() -> None:
    """Or a reader that does not know it would refuse all of the message."""
    pending: list[msgspec.inspect.Type] = list(msgspec.inspect.multi_type_info(READ))
    seen: set[type] = set()
    written = set()
    while pending:
        info = pending.pop()
        match info:
            case msgspec.inspect.StructType() if info.cls not in seen:
                seen.add(info.cls)
                pending += [field.type for field in info.fields]
                if (
                    any(not field.required for field in info.fields)
                    and not info.cls.__struct_config__.omit_defaults
                ):
                    written.add(info.cls.__name__)
            case msgspec.inspect.UnionType():
                pending += info.types
            case msgspec.inspect.VarTupleType():
                pending.append(info.item_type)
            case _:
                pass
    assert written == set()
    assert len(seen) > len(READ)


def changed(path: str, value: Any) -> dict[str, Reader]:  # noqa: ANN401 (any JSON)
    """Today's readers with one change."""
    made = copy.deepcopy(readers())
    *above, last = path.split("/")
    place: Any = made
    for each in above:
        place = place[each]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return made


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("Receipt", None),
        ("Receipt/properties/blob", None),
        ("Receipt/properties/blob", {"type": "string"}),
        ("Receipt/required", ["kind", "study", "round", "blob", "new"]),
        ("Receipt/additionalProperties", None),
        ("Reason/enum", ["crashed", "a new reason"]),
        ("Grant/properties/stored/minimum", 1),
    ],
)
def test_what_an_older_peer_would_not_read_is_seen(path: str, value: object) -> None:
    assert differences(readers(), changed(path, value)) != []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("Receipt/properties/new", {"type": "string", "default": ""}),
        ("NewMessage", {"type": "object"}),
    ],
)
def test_what_may_be_added_is_no_difference(path: str, value: object) -> None:
    assert differences(readers(), changed(path, value)) == []
