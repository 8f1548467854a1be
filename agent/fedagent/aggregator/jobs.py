# SPDX-License-Identifier: Apache-2.0
"""The long work of the aggregator: making, folding and publishing models. Runs in a thread.

Rule: a job reads and writes files only, never the store; what it made counts when the store says so, and a job that died
is simply done again.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from fedagent.aggregator.fold import Arithmetic, FoldError, FoldFiles, StagedUpdate, UnusableUpdateError, fold
from fedagent.aggregator.initial import initial_model
from fedagent.aggregator.models import Models, Published
from fedagent.conditions.condition import Said
from fedagent.errors import NoSpaceError
from fedagent.storage import disk
from fedagent.wire.messages import Reason
from fedagent.wire.study import Study, model_shapes
from fedagent.wire.tensors import encode_header, file_bytes

_PARTS: Final = 4
"""What is written beside a model of float32: itself, its blob, and at most the server's momentum in float64."""


class Prepare(msgspec.Struct, frozen=True):
    """Make the initial model and publish it."""

    study: Study


class FoldRound(msgspec.Struct, frozen=True, kw_only=True):
    """Fold these updates into the next model and publish it.

    Attributes:
        base: digest of the model that the sites received.
        velocity: the server's momentum after the round before, or None.
    """

    study: Study
    number: int
    base: bytes
    updates: tuple[StagedUpdate, ...]
    velocity: Path | None


Job = Prepare | FoldRound


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """The initial model is there."""

    study: str
    model: Published


class RoundFolded(msgspec.Struct, frozen=True, kw_only=True):
    """The round's new model is there."""

    study: str
    number: int
    sites: tuple[str, ...]
    model: Published


class UpdateUnusable(msgspec.Struct, frozen=True, kw_only=True):
    """One site's update cannot be used; nothing was made."""

    study: str
    number: int
    site: str
    reason: Reason
    said: Said


class RoundBroken(msgspec.Struct, frozen=True, kw_only=True):
    """The new model cannot be computed at all."""

    study: str
    number: int
    said: Said


class NoRoom(msgspec.Struct, frozen=True, kw_only=True):
    """The disk is full; nothing was made, and the job is to be done again."""

    study: str
    error: NoSpaceError


Made = Prepared | RoundFolded | UpdateUnusable | RoundBroken
JobResult = Made | NoRoom


def perform(job: Job, models: Models, stopped: Callable[[], bool]) -> JobResult:
    """What became of the job.

    Raises:
        StorageError: the disk is broken.
    """
    try:
        return _perform(job, models, stopped)
    except NoSpaceError as error:
        return NoRoom(study=job.study.name, error=error)


def _perform(job: Job, models: Models, stopped: Callable[[], bool]) -> JobResult:
    models.require(file_bytes(model_shapes(job.study.task)) * _PARTS)
    if isinstance(job, Prepare):
        plaintext = models.write(job.study.name, initial_model(job.study))
        return Prepared(study=job.study.name, model=models.publish(plaintext, job.study.chunk_bytes))
    name, number = job.study.name, job.number
    try:
        draft = _fold(job, models, stopped)
    except UnusableUpdateError as error:
        return UpdateUnusable(
            study=name, number=number, site=error.site, reason=error.reason, said=error.said
        )
    except FoldError as error:
        return RoundBroken(study=name, number=number, said=error.said)
    model = models.publish(models.adopt(draft), job.study.chunk_bytes)
    return RoundFolded(
        study=name, number=number, sites=tuple(update.site for update in job.updates), model=model
    )


def _fold(job: FoldRound, models: Models, stopped: Callable[[], bool]) -> Path:
    aggregation = job.study.federation.aggregation
    files = FoldFiles(
        model=models.path(job.base),
        velocity=job.velocity,
        new_model=models.draft(f"{job.study.name}.{job.number}"),
        new_velocity=models.velocity(job.study.name, job.number),
    )
    try:
        fold(
            job.updates,
            files,
            Arithmetic(learning_rate=aggregation.server_learning_rate, momentum=aggregation.server_momentum),
            header=encode_header(model_shapes(job.study.task)),
            chunk_bytes=job.study.chunk_bytes,
            stopped=stopped,
        )
    except NoSpaceError:
        for draft in (files.new_model, files.new_velocity):
            disk.remove(draft)
        raise
    return files.new_model
