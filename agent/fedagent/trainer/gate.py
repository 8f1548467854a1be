# SPDX-License-Identifier: Apache-2.0
"""The gate: the one way by which anything that was computed on patient data leaves the trainer.

Rule: nothing that the worker says is believed. What passes has exactly the study's tensors, is finite, clipped, counted
over enough patients, and encrypted to the aggregator. Memory is the sealed result and one block.
"""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from fedagent.channel import check_sealed, seal_memfd, sealed_memfd
from fedagent.conditions.trainer import (
    AGGREGATOR_KEY,
    TOO_FEW_ROWS,
    TRAINING_NOT_FINITE,
    UPDATE_NOT_SEALED,
    UPDATE_TENSORS,
    UPDATES_EXPECTED,
)
from fedagent.errors import WireError
from fedagent.security.blob import TAG_BYTES, BlobCipher, new_blob_key
from fedagent.security.sealing import seal, update_context
from fedagent.trainer.refusal import RefusedError
from fedagent.wire.codec import encode
from fedagent.wire.frames import JobSealed, WorkerDone
from fedagent.wire.messages import Announcement, MetricValue, Reason, RoundKind, UpdateSecret
from fedagent.wire.study import Identity, Study, model_shapes
from fedagent.wire.tensors import encode_header, file_bytes

METRICS: Final = frozenset(
    {"auc", "accuracy", "balanced_accuracy", "loss", "calibration_error", "training_loss"}
)
"""Names of numbers that may leave; a metric of any other name does not."""

_BLOCK_BYTES: Final = 1_048_576
_FLOAT: Final = np.dtype("<f4")
_ROUNDING: Final = 1.0 - 2.0**-23
"""Keeps the norm below the bound after rounding to float32 (each value by at most 2^-24 of itself)."""


class GateTerms(msgspec.Struct, frozen=True):
    """What a result must be, and for whom it is."""

    announcement: Announcement
    site: str
    snapshot: bytes


def pass_result(
    done: WorkerDone, descriptors: Sequence[int], terms: GateTerms, *, pulse: Callable[[], None]
) -> tuple[JobSealed, list[int]]:
    """What leaves: the frame, and a sealed memfd with the ciphertext (none after an evaluation); the caller owns it.

    Args:
        descriptors: the worker's raw update; stays the caller's.
        pulse: called once a block; what it raises ends the work.

    Raises:
        RefusedError: the result does not pass; nothing of it leaves.
    """
    announcement, study = terms.announcement, terms.announcement.study
    training = announcement.round_kind is RoundKind.TRAIN
    rows = _pass_rows(study, done.rows, training=training)
    metrics = pass_metrics(study, done.metrics)
    if len(descriptors) != training:
        raise RefusedError(Reason.GATE, UPDATES_EXPECTED(count=len(descriptors), expected=int(training)))
    norm = measure(descriptors[0], study, pulse) if training else 0.0
    secret = UpdateSecret(key=new_blob_key(), rows=rows, snapshot=terms.snapshot, metrics=metrics)
    frame = JobSealed(
        study=study.name,
        round=announcement.round,
        chunk_bytes=study.chunk_bytes,
        secret=_seal(secret, terms),
        rows=rows,
        snapshot=terms.snapshot,
        metrics=metrics,
        norm=norm,
    )
    return frame, [_encrypt(descriptors[0], study, secret.key, norm, pulse)] if training else []


def _seal(secret: UpdateSecret, terms: GateTerms) -> bytes:
    announcement = terms.announcement
    context = update_context(announcement.study.name, announcement.round, terms.site)
    try:
        return seal(announcement.aggregator_key, encode(secret), context=context)
    except WireError as error:
        raise RefusedError(Reason.UNREADABLE, AGGREGATOR_KEY(reason=error)) from error


# --- numbers ------------------------------------------------------------------------------------------------------


def pass_metrics(study: Study, metrics: Sequence[MetricValue]) -> tuple[MetricValue, ...]:
    """The metrics that may leave: known by name, finite, over enough patients; the first of each name."""
    passed: dict[str, MetricValue] = {}
    for metric in metrics:
        enough = metric.count >= study.privacy.minimum_cell
        if metric.name in METRICS and math.isfinite(metric.value) and enough:
            passed.setdefault(metric.name, metric)
    return tuple(passed.values())


def pass_loss(study: Study, loss: float | None) -> float | None:
    """A training loss for the progress display: over a batch of enough rows, to three digits, else none."""
    task = study.task
    if (
        loss is None
        or not math.isfinite(loss)
        or isinstance(task, Identity)
        or task.batch_size < study.privacy.minimum_cell
    ):
        return None
    return float(f"{loss:.3g}")


def _pass_rows(study: Study, rows: int, *, training: bool) -> int:
    """The number of training rows that may be told.

    Raises:
        RefusedError: an update over too few patients may not leave at all.
    """
    if isinstance(study.task, Identity):
        return 1
    if rows >= study.privacy.minimum_cell:
        return rows
    if training:
        raise RefusedError(Reason.TOO_FEW_ROWS, TOO_FEW_ROWS(minimum=study.privacy.minimum_cell))
    return 0


# --- tensors ------------------------------------------------------------------------------------------------------


def measure(update: int, study: Study, pulse: Callable[[], None]) -> float:
    """The L2 norm of the whole update, in float64, after every check of its form.

    Raises:
        RefusedError: not exactly the study's tensors, or not finite, or its sender could still change it.
    """
    shapes = model_shapes(study.task)
    header, expected = encode_header(shapes), file_bytes(shapes)
    try:
        seal_memfd(update)
        size = check_sealed(update, expected)
    except WireError as error:
        raise RefusedError(Reason.GATE, UPDATE_NOT_SEALED(reason=error)) from error
    if size != expected or os.pread(update, len(header), 0) != header:
        raise RefusedError(Reason.GATE, UPDATE_TENSORS(size=size))
    total = 0.0
    for offset in range(len(header), expected, _BLOCK_BYTES):
        pulse()
        total += float(np.square(_read(update, offset, _BLOCK_BYTES), dtype=np.float64).sum())
    if not math.isfinite(total):  # squares of finite float32 cannot overflow a float64
        raise RefusedError(Reason.NOT_FINITE, TRAINING_NOT_FINITE())
    return math.sqrt(total)


def _encrypt(update: int, study: Study, key: bytes, norm: float, pulse: Callable[[], None]) -> int:
    bound = study.privacy.clip_norm
    scale = 1.0 if bound is None or norm <= bound else bound / norm * _ROUNDING
    return sealed_memfd("update", _ciphertext(update, study, BlobCipher(key), scale, pulse))


def _ciphertext(
    update: int, study: Study, cipher: BlobCipher, scale: float, pulse: Callable[[], None]
) -> Iterator[bytes]:
    """The blob, chunk by chunk, of the update times the scale.

    Source: clipping as in Abadi et al. 2016, Algorithm 1 (arXiv:1607.00133).
    """
    start, size = len(encode_header(model_shapes(study.task))), os.fstat(update).st_size
    step = study.chunk_bytes - TAG_BYTES  # a multiple of a float's four bytes, like ``start``
    for index, offset in enumerate(range(0, size, step)):
        pulse()
        chunk = os.pread(update, step, offset)
        if scale != 1.0:
            head = max(0, min(len(chunk), start - offset))
            scaled = np.frombuffer(chunk, dtype=_FLOAT, offset=head).astype(np.float64) * scale
            chunk = chunk[:head] + scaled.astype(_FLOAT).tobytes()
        yield cipher.encrypt(index, last=offset + step >= size, chunk=chunk)


def _read(update: int, offset: int, size: int) -> NDArray[np.float32]:
    return np.frombuffer(os.pread(update, size, offset), dtype=_FLOAT)
