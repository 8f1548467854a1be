# SPDX-License-Identifier: Apache-2.0
"""Small blobs for the tests of transfers."""

from fedagent.wire.manifest import Manifest, blob_digest, describe
from fedagent.wire.messages import ModelReference

CHUNK = 65_536


def chunks_of(count: int, seed: int = 0) -> list[bytes]:
    """``count`` chunks that differ, the last one shorter."""
    whole = [bytes([seed, index]) * (CHUNK // 2) for index in range(count)]
    return [*whole[:-1], whole[-1][: CHUNK - 7]] if whole else []


def blob_of(count: int, seed: int = 0) -> tuple[Manifest, list[bytes]]:
    chunks = chunks_of(count, seed)
    return describe(chunks, CHUNK), chunks


def reference_to(manifest: Manifest) -> ModelReference:
    return ModelReference(
        blob=blob_digest(manifest),
        size_bytes=manifest.size_bytes,
        chunk_bytes=manifest.chunk_bytes,
        plaintext=bytes(32),
    )
