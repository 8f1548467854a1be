# SPDX-License-Identifier: Apache-2.0
"""The header of a safetensors file: names, shapes, where the data begin (https://github.com/huggingface/safetensors).

Rule: a header that is read has exactly one meaning: float32 only, every byte of the file belongs to one tensor, no
duplicate key, no metadata. What we write is canonical, so equal shapes are equal bytes.
"""

import json
import math
from itertools import pairwise
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from fedagent.conditions.messages import (
    KEY_TWICE,
    NO_TENSOR_HEADER,
    NOT_SAFETENSORS,
    TENSOR_GAP,
    WRONG_TENSOR_HEADER,
    WRONG_TENSOR_SHAPE,
)
from fedagent.errors import WireError
from fedagent.wire.study import Shapes

HEADER_BYTES: Final = 4_194_304
"""Longest JSON header that is read: 10,000 tensors have about 1 MiB."""

ALIGNMENT_BYTES: Final = 64
"""Where our data begin: a cache line, and what vector instructions like."""

FLOAT_BYTES: Final = 4
_LENGTH_BYTES: Final = 8
_Dimension = Annotated[int, Meta(ge=0, le=2**40)]
_Offset = Annotated[int, Meta(ge=0, le=2**50)]


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One tensor of the header, in the format's own words."""

    dtype: Literal["F32"]
    shape: Annotated[tuple[_Dimension, ...], Meta(max_length=8)]
    data_offsets: tuple[_Offset, _Offset]


class TensorHeader(msgspec.Struct, frozen=True):
    """A header that was read.

    Attributes:
        shapes: in the order of the data.
        data_offset: bytes from the start of the file to the first tensor.
    """

    shapes: Shapes
    data_offset: int


def encode_header(shapes: Shapes) -> bytes:
    """The start of the file up to its data: length, JSON, spaces up to ``ALIGNMENT_BYTES``."""
    entries, begin = {}, 0
    for name, shape in shapes.items():
        end = begin + tensor_bytes(shape)
        entries[name] = Entry(dtype="F32", shape=shape, data_offsets=(begin, end))
        begin = end
    text = msgspec.json.encode(entries)
    text += b" " * (-(_LENGTH_BYTES + len(text)) % ALIGNMENT_BYTES)
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text


def tensor_bytes(shape: tuple[int, ...]) -> int:
    """Bytes of a float32 tensor of that shape; no dimensions are one number."""
    return math.prod(shape) * FLOAT_BYTES


def file_bytes(shapes: Shapes) -> int:
    """Bytes of a whole file: header and data."""
    return len(encode_header(shapes)) + sum(map(tensor_bytes, shapes.values()))


def parse_header(prefix: bytes, file_bytes: int) -> TensorHeader:
    """What the file holds.

    Args:
        prefix: the file's first bytes, at least the whole header.
        file_bytes: size of the whole file.

    Raises:
        WireError: anything but float32 tensors that lie side by side and fill the file.
    """
    length = int.from_bytes(prefix[:_LENGTH_BYTES], "little")
    data_offset = _LENGTH_BYTES + length
    if length > HEADER_BYTES or data_offset > len(prefix) or len(prefix) > file_bytes:
        said = WRONG_TENSOR_HEADER(bytes=length, prefix=len(prefix), file_bytes=file_bytes)
        raise WireError(said)
    entries = _parse_entries(bytes(prefix[_LENGTH_BYTES:data_offset]))
    ordered = sorted(entries.items(), key=lambda item: item[1].data_offsets)
    for name, entry in ordered:
        begin, end = entry.data_offsets
        if end - begin != tensor_bytes(entry.shape):
            said = WRONG_TENSOR_SHAPE(shape=entry.shape, begin=begin, end=end)
            raise WireError(said, f"$.{name[:100]}")
    edges = [(0, 0), *(entry.data_offsets for _, entry in ordered), (file_bytes - data_offset, 0)]
    for (_, end), (begin, _) in pairwise(edges):
        if begin != end:
            raise WireError(TENSOR_GAP(begin=end, end=begin))
    return TensorHeader(shapes={name: entry.shape for name, entry in ordered}, data_offset=data_offset)


def _parse_entries(text: bytes) -> dict[str, Entry]:
    if not text.startswith(b"{"):
        raise WireError(NO_TENSOR_HEADER())
    try:  # not msgspec's parser: it keeps the last of two equal keys without a word
        return msgspec.convert(json.loads(text.decode(), object_pairs_hook=_unique), dict[str, Entry])
    except (ValueError, RecursionError) as error:
        raise WireError(NOT_SAFETENSORS(reason=error)) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError(KEY_TWICE())
    return result
