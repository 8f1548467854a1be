# SPDX-License-Identifier: Apache-2.0
"""The bytes of every message and frame, by protocol version.

Each file of tests/data/golden/vN holds the hexadecimal bytes of the example of that name in tests/fakes/examples.py,
32 bytes a line. A test that fails here says: an older peer cannot read us. Either undo the change, or make it a new
protocol version with a folder of its own; the folder of the version before must still decode.
"""

from pathlib import Path

import msgspec
import pytest

from fedagent.wire import frames, messages
from fedagent.wire.codec import decode, encode
from fedagent.wire.study import Study, study_digest
from fedagent.wire.values import PROTOCOL
from tests.fakes.examples import ALL, OTHER_STUDY, STUDY

GOLDEN = Path(__file__).parents[2] / "data" / "golden" / f"v{PROTOCOL}"


def lines(data: bytes) -> str:
    return "".join(f"{data[begin : begin + 32].hex()}\n" for begin in range(0, len(data), 32))


@pytest.mark.parametrize("name", sorted(ALL))
def test_a_value_is_written_as_it_was_at_this_protocol_version(name: str) -> None:
    assert lines(encode(ALL[name])) == (GOLDEN / f"{name}.hex").read_text("ascii")


@pytest.mark.parametrize("name", sorted(ALL))
def test_what_a_peer_of_this_protocol_version_said_we_say_in_the_same_bytes(name: str) -> None:
    """Also when the type has got new fields since: at their default they are not written, or it could not read us."""
    recorded = (GOLDEN / f"{name}.hex").read_text("ascii")
    value = decode(bytes.fromhex(recorded), type(ALL[name]), limit_bytes=len(recorded))
    assert lines(encode(value)) == recorded


@pytest.mark.parametrize("name", sorted(ALL))
def test_a_value_is_read_as_it_was_at_this_protocol_version(name: str) -> None:
    data = bytes.fromhex((GOLDEN / f"{name}.hex").read_text("ascii"))
    assert decode(data, type(ALL[name]), limit_bytes=len(data)) == ALL[name]


def test_every_message_and_frame_has_its_bytes() -> None:
    concrete = {
        kind.__name__
        for module in (messages, frames)
        for kind in vars(module).values()
        if isinstance(kind, type)
        and issubclass(kind, msgspec.Struct)
        and kind.__struct_config__.tag is not None
    }
    abstract = {"Message", "Frame"}
    assert concrete - abstract <= ALL.keys()
    assert {path.stem for path in GOLDEN.iterdir()} == ALL.keys()


@pytest.mark.parametrize(
    ("study", "digest"),
    [
        (STUDY, "0a8559d8a9243a74e3fffb9830db3d6b5f3f2725366582d20f9541ad4314d9b4"),
        (OTHER_STUDY, "49aa99dc815e165ac64815be9d80beeaa21a0ea649f737493b7e10b2182bd833"),
    ],
    ids=["table", "identity"],
)
def test_an_approval_of_this_protocol_version_still_fits(study: Study, digest: str) -> None:
    assert study_digest(study).hex() == digest
