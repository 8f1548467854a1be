# SPDX-License-Identifier: Apache-2.0
"""A manifest is a function of the bytes and the chunk size."""

import hashlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedagent.errors import WireError
from fedagent.wire.codec import decode, encode
from fedagent.wire.manifest import (
    CHUNK_HEADER_BYTES,
    MANIFEST_CHUNKS,
    Manifest,
    blob_digest,
    chunk_count,
    chunk_message,
    chunk_size,
    describe,
)
from fedagent.wire.topics import OFFER_BYTES

CHUNK = 65_536


def cut(data: bytes) -> list[bytes]:
    return [data[begin : begin + CHUNK] for begin in range(0, len(data), CHUNK)]


@given(st.integers(0, 4 * CHUNK + 1))
def test_a_manifest_describes_its_chunks(size: int) -> None:
    chunks = cut(bytes(size))
    manifest = describe(chunks, CHUNK)
    assert manifest.size_bytes == size
    assert len(manifest.chunks) == chunk_count(size, CHUNK) == len(chunks)
    assert [chunk_size(manifest, index) for index in range(len(chunks))] == [len(chunk) for chunk in chunks]
    assert [hashlib.sha256(chunk).digest() for chunk in chunks] == list(manifest.chunks)


def test_the_blobs_digest_is_the_manifests() -> None:
    manifest = describe([b"x" * CHUNK, b"y"], CHUNK)
    assert blob_digest(manifest) == hashlib.sha256(encode(manifest)).digest()
    assert blob_digest(manifest) != blob_digest(describe([b"x" * CHUNK, b"z"], CHUNK))
    assert blob_digest(manifest) != blob_digest(describe([b"x" * CHUNK + b"y"], 2 * CHUNK))


@pytest.mark.parametrize(("size", "chunks"), [(0, 1), (1, 0), (1, 2), (CHUNK, 2), (CHUNK + 1, 1)])
def test_a_manifest_with_chunks_missing_or_left_over_is_refused(size: int, chunks: int) -> None:
    fields = {"size_bytes": size, "chunk_bytes": CHUNK, "chunks": [bytes(32)] * chunks}
    with pytest.raises(WireError, match="do not cover"):
        decode(msgspec.msgpack.encode(fields), Manifest, limit_bytes=1000)


def test_a_chunk_of_no_bytes_divides_nothing() -> None:
    with pytest.raises(WireError):
        decode(
            msgspec.msgpack.encode({"size_bytes": 1, "chunk_bytes": 0, "chunks": []}),
            Manifest,
            limit_bytes=1000,
        )


def test_the_longest_manifest_fits_an_offer() -> None:
    manifest = Manifest(size_bytes=2**34, chunk_bytes=2**20, chunks=(bytes(32),) * MANIFEST_CHUNKS)
    assert len(encode(manifest)) + 32_768 < OFFER_BYTES


def test_a_chunk_upwards_begins_with_blob_and_index() -> None:
    message = chunk_message(bytes(range(32)), 258, b"chunk")
    assert message[:32] == bytes(range(32))
    assert message[32:CHUNK_HEADER_BYTES] == b"\x00\x00\x01\x02"
    assert message[CHUNK_HEADER_BYTES:] == b"chunk"
