# SPDX-License-Identifier: Apache-2.0
"""Every value survives the wire; every other byte string is one kind of error, with the path."""

from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedagent.errors import WireError
from fedagent.wire import frames as f
from fedagent.wire import messages as m
from fedagent.wire.codec import decode, encode
from fedagent.wire.manifest import Manifest
from fedagent.wire.study import Study
from tests.fakes.examples import ALL
from tests.fakes.strategies import values_of

LIMIT = 1_000_000
KINDS: list[Any] = list({type(value): None for value in ALL.values()})
UNIONS: list[Any] = [
    f.DaemonFrame,
    f.SupervisorFrame,
    f.SupervisorToWorker,
    f.WorkerFrame,
    m.SiteMessage,
    m.AggregatorMessage,
]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20)
@given(data=st.data())
def test_every_value_comes_back(kind: type[Any], data: st.DataObject) -> None:
    value = data.draw(values_of(kind))
    assert decode(encode(value), kind, limit_bytes=LIMIT) == value


@pytest.mark.parametrize(
    ("union", "value"),
    [
        pytest.param(union, value, id=f"{name} of {len(get_args(union))}")
        for union in UNIONS
        for name, value in ALL.items()
        if isinstance(value, union)
    ],
)
def test_every_value_of_a_union_comes_back_as_its_own_type(union: type[Any], value: msgspec.Struct) -> None:
    decoded = decode(encode(value), union, limit_bytes=LIMIT)
    assert decoded == value
    assert type(decoded) is type(value)


def test_there_is_an_example_of_every_member_of_every_union() -> None:
    assert {member for union in UNIONS for member in get_args(union)} <= set(KINDS)


# Not CheckpointNow alone, for it has no field: the one byte of an empty map is one. Frames are read as their union only.
@pytest.mark.parametrize("kind", [*(kind for kind in KINDS if kind is not f.CheckpointNow), *UNIONS])
@settings(max_examples=50)
@given(data=st.binary(max_size=300))
def test_random_bytes_are_a_wire_error(kind: type[Any], data: bytes) -> None:
    with pytest.raises(WireError):
        decode(data, kind, limit_bytes=LIMIT)


@settings(max_examples=500)
@given(name=st.sampled_from(sorted(ALL)), data=st.data())
def test_an_altered_byte_gives_a_value_or_a_wire_error(name: str, data: st.DataObject) -> None:
    encoded = bytearray(encode(ALL[name]))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    try:
        value = decode(bytes(encoded), type(ALL[name]), limit_bytes=LIMIT)
    except WireError:
        return
    assert decode(encode(value), type(value), limit_bytes=LIMIT) == value


def test_memory_is_as_good_as_bytes() -> None:
    frame = f.CheckpointDone(step=3)
    assert decode(memoryview(encode(frame)), f.CheckpointDone, limit_bytes=100) == frame


def test_what_is_too_long_is_not_parsed() -> None:
    with pytest.raises(WireError, match=r"^9 bytes, allowed are 8 \(at \$\)$"):
        decode(b"\xff" * 9, f.CheckpointDone, limit_bytes=8)


def nested(depth: int) -> bytes:
    return b"\x91" * depth


BAD: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "$"),
    "truncated": (encode(f.CheckpointDone(step=3))[:-1], "$"),
    "trailing bytes": (encode(f.CheckpointDone(step=3)) + b"\x00", "$"),
    "another type": (msgspec.msgpack.encode([1]), "$"),
    "an unknown tag": (msgspec.msgpack.encode({"frame": "checkpoint-gone", "step": 3}), "$.frame"),
    "an unknown field": (msgspec.msgpack.encode({"frame": "checkpoint-done", "step": 3, "extra": 1}), "$"),
    "a missing field": (msgspec.msgpack.encode({"frame": "checkpoint-done"}), "$"),
    "a value outside its limits": (
        msgspec.msgpack.encode({"frame": "checkpoint-done", "step": -1}),
        "$.step",
    ),
    "text that is not UTF-8": (b"\x82\xa5frame\xafcheckpoint-done\xa4step\xa2\xff\xff", "$.step"),
    "a field name that is not UTF-8": (b"\x82\xa5frame\xafcheckpoint-done\xa4\xff\xff\xff\xff\x03", "$"),
    "too deep": (b"\x82\xa5frame\xafcheckpoint-done\xa5extra" + nested(100_000), "$"),
    "an array of four billion": (b"\xdd\xff\xff\xff\xff", "$"),
    "a map of four billion": (b"\xdf\xff\xff\xff\xff", "$"),
    "bytes of four gigabytes": (b"\xc6\xff\xff\xff\xff", "$"),
}


@pytest.mark.parametrize("case", BAD)
def test_bytes_are_refused_that_are(case: str) -> None:
    data, path = BAD[case]
    with pytest.raises(WireError) as caught:
        decode(data, f.CheckpointDone, limit_bytes=LIMIT)
    assert caught.value.path == path


def test_the_path_leads_into_the_value() -> None:
    data = msgspec.to_builtins(ALL["Ready"], builtin_types=(bytes,))
    data["snapshots"][0]["rows"] = -1
    with pytest.raises(WireError, match="Expected `int` >= 0") as caught:
        decode(msgspec.msgpack.encode(data), f.Ready, limit_bytes=LIMIT)
    assert caught.value.path == "$.snapshots[0].rows"


@pytest.mark.parametrize("kind", [Study, Manifest])
def test_equal_values_are_equal_bytes(kind: type[msgspec.Struct]) -> None:
    for value in (each for each in ALL.values() if isinstance(each, kind)):
        assert encode(decode(encode(value), kind, limit_bytes=LIMIT)) == encode(value)
