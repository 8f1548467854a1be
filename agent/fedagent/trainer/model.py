# SPDX-License-Identifier: Apache-2.0
"""Opens the global model: from the ciphertext's file to a sealed memfd that holds exactly the announced tensors.

Rule: nothing of the model is used before blob, plaintext and header are what the signed announcement says; memory is
the memfd and one chunk.
"""

import hashlib
import os
import stat
from collections.abc import Callable, Iterator

from fedagent.channel import sealed_memfd
from fedagent.conditions.messages import (
    MODEL_BLOB,
    MODEL_FILE_SIZE,
    MODEL_PLAINTEXT,
    MODEL_SIZE,
    MODEL_TENSORS,
)
from fedagent.errors import WireError
from fedagent.security.blob import BlobCipher, ciphertext_bytes
from fedagent.wire.manifest import Manifest, blob_digest, chunk_count
from fedagent.wire.messages import ModelReference
from fedagent.wire.study import Shapes
from fedagent.wire.tensors import encode_header, file_bytes


def open_model(
    ciphertext: int, *, reference: ModelReference, key: bytes, shapes: Shapes, pulse: Callable[[], None]
) -> int:
    """A sealed memfd with the model (safetensors); the caller owns it.

    Args:
        ciphertext: descriptor of the blob's file; read, not closed.
        pulse: called once a chunk; what it raises ends the work.

    Raises:
        WireError: the bytes are not the announced model, or it is not the study's.
    """
    expected = ciphertext_bytes(file_bytes(shapes), reference.chunk_bytes)
    if reference.size_bytes != expected:
        raise WireError(MODEL_SIZE(expected=expected, announced=reference.size_bytes), "$.model")
    status = os.fstat(ciphertext)
    if not stat.S_ISREG(status.st_mode) or status.st_size != expected:
        raise WireError(MODEL_FILE_SIZE(size=status.st_size, announced=expected), "descriptor")
    model = sealed_memfd("model", _plaintext(ciphertext, reference, BlobCipher(key), pulse))
    header = encode_header(shapes)
    if os.pread(model, len(header), 0) != header:
        os.close(model)
        raise WireError(MODEL_TENSORS(), "header")
    return model


def _plaintext(
    ciphertext: int, reference: ModelReference, cipher: BlobCipher, pulse: Callable[[], None]
) -> Iterator[bytes]:
    """The plaintext chunk by chunk; the last step fails unless all that came was what was announced."""
    digests, whole = [], hashlib.sha256()
    count = chunk_count(reference.size_bytes, reference.chunk_bytes)
    for index in range(count):
        pulse()
        chunk = os.pread(ciphertext, reference.chunk_bytes, index * reference.chunk_bytes)
        digests.append(hashlib.sha256(chunk).digest())
        plain = cipher.decrypt(index, last=index == count - 1, chunk=chunk)
        whole.update(plain)
        yield plain
    found = Manifest(
        size_bytes=reference.size_bytes, chunk_bytes=reference.chunk_bytes, chunks=tuple(digests)
    )
    if blob_digest(found) != reference.blob:
        raise WireError(MODEL_BLOB(), "$.model.blob")
    if whole.digest() != reference.plaintext:
        raise WireError(MODEL_PLAINTEXT(), "$.model.plaintext")
