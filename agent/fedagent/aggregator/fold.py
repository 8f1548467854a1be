# SPDX-License-Identifier: Apache-2.0
"""Updates of many sites into the next global model: float64, chunk column by chunk column.

Rule: sites are added in the order of their names whatever order they came in, so the same updates give the same bytes;
memory is one column, whatever the size of the model and the number of sites. Every file begins with the same header, so
the k-th chunk of each holds the same parameters.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from fedagent.conditions.aggregator import (
    FOLD_STOPPED,
    MODEL_NOT_FINITE,
    NOTHING_TO_FOLD,
    UPDATE_NOT_DECRYPTED,
    UPDATE_NOT_FINITE,
    UPDATE_OF_ANOTHER_MODEL,
)
from fedagent.conditions.condition import Said
from fedagent.errors import FedagentError, WireError
from fedagent.security.blob import TAG_BYTES, BlobCipher, ciphertext_bytes
from fedagent.storage import disk
from fedagent.storage.files import not_written
from fedagent.wire.messages import Reason

Column = npt.NDArray[np.float64]

_FLOAT_BYTES = 4
_VELOCITY_BYTES = 8


class FoldError(FedagentError):
    """The new model cannot be computed from these updates at all."""


class UnusableUpdateError(FedagentError):
    """One site's update cannot be used; without it the others can.

    Attributes:
        reason: what the site is told, with what is said.
    """

    def __init__(self, site: str, reason: Reason, said: Said) -> None:
        super().__init__(said)
        self.site, self.reason = site, reason


class StagedUpdate(msgspec.Struct, frozen=True):
    """A complete update as it lies on disk, encrypted.

    Attributes:
        key: of the blob, 32 bytes.
        rows: training rows, the update's weight; at least 1.
    """

    site: str
    path: Path
    key: bytes
    rows: int


class Arithmetic(msgspec.Struct, frozen=True, kw_only=True):
    """model += learning_rate * v, where v = momentum * v + mean of the updates (FedAvgM, arXiv:1909.06335)."""

    learning_rate: float
    momentum: float


class FoldFiles(msgspec.Struct, frozen=True, kw_only=True):
    """What is read and written.

    Attributes:
        model: the global model that the sites received, safetensors.
        velocity: v of the round before, float64; None where there is none yet.
        new_model: written; must not exist yet or may be overwritten.
        new_velocity: written where momentum is not 0.
    """

    model: Path
    velocity: Path | None
    new_model: Path
    new_velocity: Path


def fold(
    updates: tuple[StagedUpdate, ...],
    files: FoldFiles,
    arithmetic: Arithmetic,
    *,
    header: bytes,
    chunk_bytes: int,
    stopped: Callable[[], bool],
) -> None:
    """Writes the new model, durably (McMahan et al. 2017, Algorithm 1, arXiv:1602.05629).

    Args:
        header: what the model and every update begin with (``wire.tensors.encode_header``).
        chunk_bytes: of the updates' ciphertext.
        stopped: asked before each column.

    Raises:
        UnusableUpdateError: does not decrypt, has another header, or is not finite.
        FoldError: no updates, the result is not finite, or ``stopped``.
        NoSpaceError: the disk is full; what was written is of no use.
        StorageError: it is broken.
    """
    if not updates:
        raise FoldError(NOTHING_TO_FOLD())
    try:
        with ExitStack() as stack:
            model = stack.enter_context(files.model.open("rb"))
            columns = _Columns(stack, updates, header, chunk_bytes, os.fstat(model.fileno()).st_size)
            velocity = _Velocity(stack, files, arithmetic.momentum)
            target = stack.enter_context(disk.created(files.new_model))
            target.write(header)
            model.seek(len(header))
            for mean in columns.means(stopped):
                old = np.frombuffer(model.read(mean.size * _FLOAT_BYTES), dtype="<f4")
                target.write(_moved(old, velocity.next(mean), arithmetic.learning_rate))
            target.sync()
            velocity.sync()
    except OSError as error:
        raise not_written(error, files.new_model) from error


def _moved(old: npt.NDArray[np.float32], direction: Column, learning_rate: float) -> bytes:
    with np.errstate(over="ignore", invalid="ignore"):
        new = (old.astype(np.float64) + learning_rate * direction).astype("<f4")
    if not np.isfinite(new).all():
        raise FoldError(MODEL_NOT_FINITE())
    return new.tobytes()


class _Columns:
    """The weighted mean of the updates, one chunk column after the other."""

    def __init__(
        self,
        stack: ExitStack,
        updates: tuple[StagedUpdate, ...],
        header: bytes,
        chunk_bytes: int,
        model_bytes: int,
    ) -> None:
        self._updates = tuple(sorted(updates, key=lambda update: update.site))
        self._header, self._chunk_bytes = header, chunk_bytes
        self._size = ciphertext_bytes(model_bytes, chunk_bytes)
        self._ciphers = [BlobCipher(update.key) for update in self._updates]
        self._files = [stack.enter_context(update.path.open("rb")) for update in self._updates]
        self._rows = sum(update.rows for update in self._updates)

    def means(self, stopped: Callable[[], bool]) -> Iterator[Column]:
        """Float64 vectors of as many parameters as one chunk holds."""
        plain = self._chunk_bytes - TAG_BYTES
        for index in range(-(-self._size // self._chunk_bytes)):
            if stopped():
                raise FoldError(FOLD_STOPPED())
            skip = max(0, len(self._header) - index * plain)
            total: Column | None = None
            for position in range(len(self._updates)):
                values = self._values(position, index, min(skip, plain))
                weighted = values.astype(np.float64) * self._updates[position].rows
                total = weighted if total is None else np.add(total, weighted, out=total)
            if total is not None and total.size:
                yield total / self._rows

    def _values(self, position: int, index: int, skip: int) -> npt.NDArray[np.float32]:
        update = self._updates[position]
        chunk = os.pread(self._files[position].fileno(), self._chunk_bytes, index * self._chunk_bytes)
        last = (index + 1) * self._chunk_bytes >= self._size
        try:
            plain = self._ciphers[position].decrypt(index, last=last, chunk=chunk)
        except WireError as error:
            said = UPDATE_NOT_DECRYPTED(reason=error)
            raise UnusableUpdateError(update.site, Reason.UNREADABLE, said) from error
        begin = index * (self._chunk_bytes - TAG_BYTES)
        if plain[:skip] != self._header[begin : begin + skip]:
            raise UnusableUpdateError(update.site, Reason.UNREADABLE, UPDATE_OF_ANOTHER_MODEL())
        values = np.frombuffer(plain, dtype="<f4", offset=skip)
        if not np.isfinite(values).all():
            raise UnusableUpdateError(update.site, Reason.NOT_FINITE, UPDATE_NOT_FINITE())
        return values


class _Velocity:
    """v = momentum * v + mean, kept in a file between rounds; without momentum v is the mean and there is no file."""

    def __init__(self, stack: ExitStack, files: FoldFiles, momentum: float) -> None:
        self._momentum = momentum
        keep = momentum != 0.0
        self._old = stack.enter_context(files.velocity.open("rb")) if keep and files.velocity else None
        self._new = stack.enter_context(disk.created(files.new_velocity)) if keep else None

    def next(self, mean: Column) -> Column:
        """The direction of the step at the parameters that ``mean`` covers."""
        if self._new is None:
            return mean
        if self._old is not None:
            mean = (
                self._momentum * np.frombuffer(self._old.read(mean.size * _VELOCITY_BYTES), dtype="<f8")
                + mean
            )
        self._new.write(mean.astype("<f8").tobytes())
        return mean

    def sync(self) -> None:
        """The file is durable."""
        if self._new is not None:
            self._new.sync()
