# SPDX-License-Identifier: Apache-2.0
"""A blob's manifest: what its chunks must hash to; the blob's digest is the manifest's.

Rule: a manifest is a function of the bytes and the chunk size alone, so whoever has the bytes can recompute it.
"""

import hashlib
from collections.abc import Iterable
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from fedagent.conditions.messages import CHUNKS_DO_NOT_COVER
from fedagent.wire.values import ChunkBytes, Digest

MANIFEST_CHUNKS: Final = 16_384
"""Most chunks of one blob: 16 GiB at 1 MiB, and a manifest of half a MiB."""

CHUNK_HEADER_BYTES: Final = 36
"""A chunk message upwards: 32 bytes of blob digest, 4 of index (big endian), the chunk."""


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The chunks of one blob, in order; an empty blob has none."""

    size_bytes: Annotated[int, Meta(ge=0, le=2**34)]
    chunk_bytes: ChunkBytes
    chunks: Annotated[tuple[Digest, ...], Meta(max_length=MANIFEST_CHUNKS)]

    def __post_init__(self) -> None:
        if len(self.chunks) != chunk_count(self.size_bytes, self.chunk_bytes):
            raise ValueError(CHUNKS_DO_NOT_COVER(chunks=len(self.chunks), bytes=self.size_bytes))


def chunk_count(size_bytes: int, chunk_bytes: int) -> int:
    """How many chunks a blob of that size has."""
    return -(-size_bytes // chunk_bytes)


def chunk_size(manifest: Manifest, index: int) -> int:
    """Bytes of the chunk with that index; the last one may be shorter."""
    return min(manifest.chunk_bytes, manifest.size_bytes - index * manifest.chunk_bytes)


def describe(chunks: Iterable[bytes], chunk_bytes: int) -> Manifest:
    """The manifest of a blob that is given chunk by chunk (each ``chunk_bytes`` long but the last)."""
    digests, size = [], 0
    for chunk in chunks:
        digests.append(hashlib.sha256(chunk).digest())
        size += len(chunk)
    return Manifest(size_bytes=size, chunk_bytes=chunk_bytes, chunks=tuple(digests))


def blob_digest(manifest: Manifest) -> bytes:
    """The blob's identity: SHA-256 over the manifest's canonical MessagePack form, 32 bytes."""
    return hashlib.sha256(msgspec.msgpack.encode(manifest, order="deterministic")).digest()


def chunk_message(blob: bytes, index: int, chunk: bytes) -> bytes:
    """The payload of ``up/<site>/<study>/chunk``."""
    return blob + index.to_bytes(4, "big") + chunk
