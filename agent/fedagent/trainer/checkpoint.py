# SPDX-License-Identifier: Apache-2.0
"""A training that can go on where it was, bit for bit: one file, written whole or not at all.

Rule: everything that the next step depends on is in the file or in its identity; a file of another identity, or a
damaged one, is as good as none. Layout: magic, u32 length of the MessagePack state, state, safetensors, SHA-256 of all.
"""

import hashlib
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from fedagent.conditions.files import TRAINER_CANNOT_READ
from fedagent.errors import StorageError, WireError
from fedagent.storage.failpoints import Failpoint, reach
from fedagent.storage.files import write_atomically
from fedagent.trainer.tensor_file import Tensors, parse_tensors, tensor_chunks
from fedagent.wire.codec import decode, encode
from fedagent.wire.values import Count, Digest, Name, RoundNumber, Text

MAGIC: Final = b"fedagent checkpoint 1\n"
STATE_BYTES: Final = 65_536
_DIGEST_BYTES: Final = 32


class CheckpointIdentity(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What must be the same for the next step to be the same; see ``tasks.tabular.identity_of``.

    Attributes:
        model: SHA-256 of the global model.
        build: versions of the libraries that compute.
        cpu: the vector instructions that they compute with.
    """

    study: Digest
    round: RoundNumber
    site: Name
    model: Digest
    snapshot: Digest
    build: Text
    cpu: Text


class CheckpointState(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All of the training but its tensors.

    Attributes:
        step: optimizer steps done. The epoch, the place in its permutation and the permutation itself follow from it.
        elapsed_s: running time used up.
        loss_sum: of the steps' losses.
        threads: with how many it computes; another number may round otherwise.
    """

    identity: CheckpointIdentity
    step: Annotated[int, Meta(ge=0)]
    elapsed_s: float
    loss_sum: float
    threads: Count


class Checkpoint(msgspec.Struct, frozen=True, eq=False):
    """The state and the tensors (model and optimizer) after a step."""

    state: CheckpointState
    tensors: Tensors


def save(path: Path, checkpoint: Checkpoint) -> None:
    """The checkpoint is durable, in the place of the one before.

    Raises:
        StorageError: no space, no permission; the one before is still there.
    """
    state = encode(checkpoint.state)
    body = b"".join([MAGIC, len(state).to_bytes(4, "little"), state, *tensor_chunks(checkpoint.tensors)])
    write_atomically(path, body + hashlib.sha256(body).digest())
    reach(Failpoint.CHECKPOINT_WRITTEN)


def load(path: Path, identity: CheckpointIdentity) -> Checkpoint | None:
    """The checkpoint of exactly this training; None where there is none, it is another's, or it is damaged.

    Raises:
        StorageError: the file is there but cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(TRAINER_CANNOT_READ(path=path, reason=error.strerror)) from error
    try:
        checkpoint = _parse(memoryview(data))
    except WireError:
        return None
    return checkpoint if checkpoint and checkpoint.state.identity == identity else None


def _parse(data: memoryview) -> Checkpoint | None:
    body, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest or bytes(body[: len(MAGIC)]) != MAGIC:
        return None
    start = len(MAGIC) + 4
    end = start + int.from_bytes(body[len(MAGIC) : start], "little")
    state = decode(body[start:end], CheckpointState, limit_bytes=STATE_BYTES)
    return Checkpoint(state, parse_tensors(body[end:]))
