# SPDX-License-Identifier: Apache-2.0
"""Tensors from and to safetensors bytes, as numpy arrays.

Rule: float32, little-endian, in the order of the header; what is read is a copy, so the bytes may go away.
"""

import mmap
import os
from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fedagent.conditions.messages import NO_TENSORS
from fedagent.errors import WireError
from fedagent.wire.tensors import FLOAT_BYTES, HEADER_BYTES, encode_header, parse_header, tensor_bytes

Tensor = NDArray[np.float32]
Tensors = dict[str, Tensor]

_DTYPE: Final = np.dtype("<f4")


def read_tensors(descriptor: int) -> Tensors:
    """The tensors of a file or memfd.

    Raises:
        WireError: not a safetensors file of float32 only.
    """
    if not os.fstat(descriptor).st_size:
        raise WireError(NO_TENSORS())
    with mmap.mmap(descriptor, 0, mmap.MAP_PRIVATE, mmap.PROT_READ) as mapped, memoryview(mapped) as data:
        return parse_tensors(data)  # private, since Linux < 6.7 maps a sealed memfd in no other way


def parse_tensors(data: memoryview) -> Tensors:
    """The tensors in these bytes.

    Raises:
        WireError: not a safetensors file of float32 only.
    """
    header = parse_header(bytes(data[: 8 + HEADER_BYTES]), len(data))
    tensors: Tensors = {}
    at = header.data_offset
    for name, shape in header.shapes.items():
        size = tensor_bytes(shape)
        flat = np.frombuffer(data, dtype=_DTYPE, count=size // FLOAT_BYTES, offset=at)
        tensors[name] = flat.astype(np.float32, copy=True).reshape(shape)
        at += size
    return tensors


def tensor_chunks(tensors: Mapping[str, Tensor]) -> Iterator[memoryview]:
    """The whole file: the header, then each tensor's bytes."""
    yield memoryview(encode_header({name: tensor.shape for name, tensor in tensors.items()}))
    for tensor in tensors.values():
        yield np.ascontiguousarray(tensor, dtype=_DTYPE).reshape(-1).view(np.uint8).data
