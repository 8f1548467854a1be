# SPDX-License-Identifier: Apache-2.0
"""Tensor files: ours are read by the safetensors library, its files by us, and nothing is ambiguous."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from fedagent.errors import WireError
from fedagent.wire.study import Shapes, model_shapes
from fedagent.wire.tensors import (
    ALIGNMENT_BYTES,
    HEADER_BYTES,
    encode_header,
    file_bytes,
    parse_header,
    tensor_bytes,
)
from tests.fakes.examples import STUDY

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).filter(
    lambda name: name != "__metadata__"
)
shapes_of_any_kind = st.dictionaries(names, st.lists(st.integers(0, 5), max_size=4).map(tuple), max_size=6)


def data_of(shapes: Shapes) -> bytes:
    count = sum(map(tensor_bytes, shapes.values())) // 4
    return np.arange(count, dtype="<f4").tobytes()


@settings(max_examples=200)
@given(shapes_of_any_kind)
def test_the_library_reads_what_we_write(shapes: Shapes) -> None:
    data = data_of(shapes)
    tensors = load(encode_header(shapes) + data)
    assert {name: tensor.shape for name, tensor in tensors.items()} == shapes
    assert b"".join(tensors[name].tobytes() for name in shapes) == data
    assert all(tensor.dtype == np.float32 for tensor in tensors.values())


@settings(max_examples=200)
@given(shapes_of_any_kind)
def test_we_read_what_the_library_writes(shapes: Shapes) -> None:
    tensors = {name: np.full(shape, index, np.float32) for index, (name, shape) in enumerate(shapes.items())}
    file = save(tensors)
    header = parse_header(file, len(file))
    assert header.shapes == shapes
    position = header.data_offset
    for name, shape in header.shapes.items():
        size = tensor_bytes(shape)
        assert file[position : position + size] == tensors[name].tobytes()
        position += size
    assert position == len(file)


@given(shapes_of_any_kind)
def test_we_read_what_we_write(shapes: Shapes) -> None:
    header = encode_header(shapes)
    assert len(header) % ALIGNMENT_BYTES == 0
    parsed = parse_header(header, file_bytes(shapes))
    assert sorted(parsed.shapes.items()) == sorted(shapes.items())
    assert parsed.data_offset == len(header)


def test_a_models_header_keeps_its_bytes() -> None:
    header = encode_header(model_shapes(STUDY.task))
    assert header[8:].startswith(
        b'{"layers.0.weight":{"dtype":"F32","shape":[16,5],"data_offsets":[0,320]},"layers.0.bias"'
    )
    assert list(parse_header(header, file_bytes(model_shapes(STUDY.task))).shapes) == list(
        model_shapes(STUDY.task)
    )


def test_the_longest_model_has_a_header_that_is_read() -> None:
    shapes: Shapes = {f"tensor.{index}": (400_000,) for index in range(10_000)}
    header = encode_header(shapes)
    assert len(header) < HEADER_BYTES
    assert parse_header(header, file_bytes(shapes)).shapes == shapes


def tensor(
    begin: int = 0, end: int = 4, shape: object = (1,), dtype: object = "F32", **more: object
) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end], **more}


def file_of(text: str | bytes, data: int = 4, length: int | None = None) -> bytes:
    raw = text if isinstance(text, bytes) else text.encode()
    return (len(raw) if length is None else length).to_bytes(8, "little") + raw + bytes(data)


def entries(data: int = 4, **tensors: object) -> bytes:
    return file_of(json.dumps(tensors), data)


TWICE = f'{{"a": {json.dumps(tensor())}, "a": {json.dumps(tensor())}}}'
FIELD_TWICE = '{"a": {"dtype": "F32", "dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}'

REFUSED: dict[str, bytes] = {
    "empty": b"",
    "shorter than its length": b"\x00" * 7,
    "without a header": file_of("", 0),
    "with a header that is longer than the file": file_of("{}", 0, length=100),
    "with a header that is longer than any": file_of("{}", 0, length=HEADER_BYTES + 1),
    "with a header of 2^64 - 1 bytes": file_of("{}", 0, length=2**64 - 1),
    "of a list": file_of("[]", 0),
    "that begins with a space": file_of(" {}", 0),
    "that is no JSON": file_of("{", 0),
    "that is no UTF-8": file_of(b'{"\xff": 1}', 0),
    "that is UTF-16": file_of("{}".encode("utf-16-le"), 0),
    "with text after the object": file_of("{}x", 0),
    "with a number of 5000 digits": file_of('{"a": ' + "1" * 5000 + "}", 0),
    "that is nested without end": file_of('{"a":' * 100_000, 0),
    "with metadata": entries(__metadata__={"a": "b"}, a=tensor()),
    "with a tensor twice": file_of(TWICE),
    "with a field twice": file_of(FIELD_TWICE),
    "with an unknown field": entries(a=tensor(extra=1)),
    "with a field missing": entries(a={"dtype": "F32", "shape": [1]}),
    "of another type": entries(a=tensor(dtype="F64", end=8), data=8),
    "of half precision": entries(a=tensor(dtype="F16", end=2), data=2),
    "of a type that is no text": entries(a=tensor(dtype=1)),
    "with a negative dimension": entries(a=tensor(shape=[-1])),
    "with a dimension that is no whole number": entries(a=tensor(shape=[1.5])),
    "with a dimension that is true": entries(a=tensor(shape=[True])),
    "with nine dimensions": entries(a=tensor(shape=[1] * 9)),
    "with a huge dimension": entries(a=tensor(shape=[2**41])),
    "with dimensions whose product is huge": entries(a=tensor(shape=[2**40] * 8)),
    "with three offsets": entries(a={"dtype": "F32", "shape": [1], "data_offsets": [0, 4, 4]}),
    "with a tensor that is too short": entries(a=tensor(shape=[2])),
    "with a tensor that is too long": entries(a=tensor(shape=[]) | {"data_offsets": [0, 8]}, data=8),
    "with its end before its begin": entries(a=tensor(begin=4, end=0)),
    "with a negative offset": entries(a=tensor(begin=-4, end=0)),
    "with a gap before": entries(a=tensor(begin=4, end=8), data=8),
    "with a gap between": entries(a=tensor(), b=tensor(begin=8, end=12), data=12),
    "with an overlap": entries(a=tensor(), b=tensor()),
    "with bytes after": entries(a=tensor(), data=5),
    "with bytes missing": entries(a=tensor(), data=3),
    "with data and no tensor": file_of("{}", 4),
}


LINES: dict[str, str] = {
    "empty": "header of 0 bytes in the first 0 of a file of 0 (at $)",
    "shorter than its length": "header of 0 bytes in the first 7 of a file of 7 (at $)",
    "without a header": "the header does not begin with '{' (at $)",
    "with a header that is longer than the file": "header of 100 bytes in the first 10 of a file of 10 (at $)",
    "with a header that is longer than any": "header of 4194305 bytes in the first 10 of a file of 10 (at $)",
    "with a header of 2^64 - 1 bytes": "header of 18446744073709551615 bytes in the first 10 of a file of 10 (at $)",
    "of a list": "the header does not begin with '{' (at $)",
    "that begins with a space": "the header does not begin with '{' (at $)",
    "that is no JSON": "the header is not of safetensors with float32 only: …",
    "that is no UTF-8": "the header is not of safetensors with float32 only: …",
    "that is UTF-16": "the header is not of safetensors with float32 only: …",
    "with text after the object": "the header is not of safetensors with float32 only: …",
    "with a number of 5000 digits": "the header is not of safetensors with float32 only: …",
    "that is nested without end": "the header is not of safetensors with float32 only: …",
    "with metadata": "the header is not of safetensors with float32 only: Object contains unknown field `a` - at `$[...]` (at $)",
    "with a tensor twice": "the header is not of safetensors with float32 only: a key is there twice (at $)",
    "with a field twice": "the header is not of safetensors with float32 only: a key is there twice (at $)",
    "with an unknown field": "the header is not of safetensors with float32 only: Object contains unknown field `extra` - at `$[...]` (at $)",
    "with a field missing": "the header is not of safetensors with float32 only: Object missing required field `data_offsets` - at `$[...]` (at $)",
    "of another type": "the header is not of safetensors with float32 only: Invalid enum value 'F64' - at `$[...].dtype` (at $)",
    "of half precision": "the header is not of safetensors with float32 only: Invalid enum value 'F16' - at `$[...].dtype` (at $)",
    "of a type that is no text": "the header is not of safetensors with float32 only: Expected `str`, got `int` - at `$[...].dtype` (at $)",
    "with a negative dimension": "the header is not of safetensors with float32 only: Expected `int` >= 0 - at `$[...].shape[0]` (at $)",
    "with a dimension that is no whole number": "the header is not of safetensors with float32 only: Expected `int`, got `float` - at `$[...].shape[0]` (at $)",
    "with a dimension that is true": "the header is not of safetensors with float32 only: Expected `int`, got `bool` - at `$[...].shape[0]` (at $)",
    "with nine dimensions": "the header is not of safetensors with float32 only: Expected `array` of length <= 8 - at `$[...].shape` (at $)",
    "with a huge dimension": "the header is not of safetensors with float32 only: Expected `int` <= 1099511627776 - at `$[...].shape[0]` (at $)",
    "with dimensions whose product is huge": "shape (1099511627776, 1099511627776, 1099511627776, 1099511627776, 1099511627776, 1099511627776, 1099511627776, 1099511627776) does not fill 0 to 4 (at $.a)",
    "with three offsets": "the header is not of safetensors with float32 only: Expected `array` of length 2, got 3 - at `$[...].data_offsets` (at $)",
    "with a tensor that is too short": "shape (2,) does not fill 0 to 4 (at $.a)",
    "with a tensor that is too long": "shape () does not fill 0 to 8 (at $.a)",
    "with its end before its begin": "shape (1,) does not fill 4 to 0 (at $.a)",
    "with a negative offset": "the header is not of safetensors with float32 only: Expected `int` >= 0 - at `$[...].data_offsets[0]` (at $)",
    "with a gap before": "bytes 0 to 4 of the data are in no tensor or in two (at $)",
    "with a gap between": "bytes 4 to 8 of the data are in no tensor or in two (at $)",
    "with an overlap": "bytes 4 to 0 of the data are in no tensor or in two (at $)",
    "with bytes after": "bytes 4 to 5 of the data are in no tensor or in two (at $)",
    "with bytes missing": "bytes 4 to 3 of the data are in no tensor or in two (at $)",
    "with data and no tensor": "bytes 0 to 4 of the data are in no tensor or in two (at $)",
}
"""The whole line; what stands for … are the words of this version of Python."""


@pytest.mark.parametrize("case", REFUSED)
def test_no_file_is_read(case: str) -> None:
    file = REFUSED[case]
    with pytest.raises(WireError) as caught:
        parse_header(file, len(file))
    line, *python = LINES[case].split("…")
    assert str(caught.value).startswith(line) if python else str(caught.value) == line


def test_a_prefix_is_not_longer_than_its_file() -> None:
    file = entries(a=tensor())
    with pytest.raises(WireError):
        parse_header(file, len(file) - 1)


def test_an_error_names_the_tensor() -> None:
    file = entries(weights=tensor(shape=[2]))
    with pytest.raises(WireError) as caught:
        parse_header(file, len(file))
    assert caught.value.path == "$.weights"


@given(st.binary(max_size=200))
def test_random_headers_are_refused(text: bytes) -> None:
    file = file_of(text, 0)
    with pytest.raises(WireError):
        parse_header(file, len(file))


@settings(max_examples=300)
@given(st.data())
def test_an_altered_header_has_other_tensors_or_none(data: st.DataObject) -> None:
    shapes: Shapes = {"a": (2, 3), "b": (4,)}
    good = encode_header(shapes)
    altered = bytearray(good)
    altered[data.draw(st.integers(8, len(good) - 1))] = data.draw(st.integers(0, 255))
    try:
        header = parse_header(bytes(altered), file_bytes(shapes))
    except WireError:
        return
    assert sum(map(tensor_bytes, header.shapes.values())) == file_bytes(shapes) - header.data_offset
