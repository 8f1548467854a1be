# SPDX-License-Identifier: Apache-2.0
"""Frames between the site daemon and the trainer's supervisor, and between supervisor and worker.

Rule: one frame is one SOCK_SEQPACKET datagram of at most ``FRAME_BYTES``; bytes of models travel as descriptors beside
it, in the order that the class names. The supervisor believes nothing in a ``Job`` that no signature covers.
"""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from fedagent.wire.messages import MetricValue, Reason, RoundKind
from fedagent.wire.study import Study
from fedagent.wire.values import (
    ChunkBytes,
    Code,
    Count,
    Digest,
    Name,
    NotNegative,
    Positive,
    PublicKey,
    RoundNumber,
    Sealed,
    Text,
)

FRAME_BYTES: Final = 131_072
"""Well below the kernel's default send buffer (net.core.wmem_default, 212,992)."""

FRAME_DESCRIPTORS: Final = 4


class Frame(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    kw_only=True,
    omit_defaults=True,
    tag_field="frame",
):
    """One datagram."""


# --- supervisor to daemon ---------------------------------------------------------------------------------------


class SnapshotEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The current snapshot of a dataset."""

    dataset: Name
    digest: Digest
    rows: Annotated[int, Meta(ge=0)]


class Ready(Frame, frozen=True, tag="ready"):
    """The first frame.

    Descriptors: the worker's pidfd; then, with ``control = "cgroup"``, its cgroup.freeze (write), cgroup.kill (write)
    and cgroup.events (read). With ``"process-group"`` the worker leads a group of its own.
    """

    version: Text
    control: Literal["cgroup", "process-group"]
    supervisor_pid: Count
    worker_pid: Count
    trainer_key: PublicKey
    snapshots: Annotated[tuple[SnapshotEntry, ...], Meta(max_length=256)] = ()


class JobRefused(Frame, frozen=True, tag="job-refused"):
    """The supervisor will not train this: nothing was read but the approval and the announcement."""

    study: Name
    round: RoundNumber
    reason: Reason
    text: Text
    code: Code = ""


class JobProgress(Frame, frozen=True, tag="job-progress"):
    """After the start, every second or so, and after each checkpoint (``checkpoint_step``)."""

    study: Name
    round: RoundNumber
    step: Annotated[int, Meta(ge=0)]
    steps: Annotated[int, Meta(ge=0)]
    checkpoint_step: Annotated[int, Meta(ge=0)]
    loss: float | None = None


class JobSealed(Frame, frozen=True, tag="job-sealed"):
    """The gate let the update pass. Descriptor: a sealed memfd with the ciphertext (none where it is empty).

    ``rows`` and ``metrics`` repeat, for the audit log and for people on this machine, what ``secret`` holds.
    """

    study: Name
    round: RoundNumber
    chunk_bytes: ChunkBytes
    secret: Sealed
    rows: Annotated[int, Meta(ge=0)]
    snapshot: Digest
    metrics: Annotated[tuple[MetricValue, ...], Meta(max_length=32)]
    norm: NotNegative


class JobFailed(Frame, frozen=True, tag="job-failed"):
    """The worker crashed, gave what the gate refuses, or found that the data do not fit."""

    study: Name
    round: RoundNumber
    reason: Reason
    text: Text
    code: Code = ""


class CheckpointDone(Frame, frozen=True, tag="checkpoint-done"):
    """Answer to ``CheckpointNow``: the state of that step is durable."""

    step: Annotated[int, Meta(ge=0)]


# --- daemon to supervisor -----------------------------------------------------------------------------------------


class Job(Frame, frozen=True, tag="job"):
    """Train or evaluate. Descriptor: the global model's ciphertext, opened for reading.

    Attributes:
        announcement: the signed envelope as it came from ``all/<study>/round``.
        model_key: the sealed key as it came in the ``ModelKey`` message; HPKE to this trainer's key.
    """

    study: Name
    announcement: Annotated[bytes, Meta(max_length=98_304)]
    model_key: Sealed
    site: Name


class CheckpointNow(Frame, frozen=True, tag="checkpoint-now"):
    """Write a checkpoint at the next step's end, then answer; the daemon will kill the worker after that."""


class JobStop(Frame, frozen=True, tag="job-stop"):
    """The round is over or revoked: drop the job and, with ``erase``, what the trainer kept of the study."""

    study: Name
    erase: bool = False


DaemonFrame = Job | CheckpointNow | JobStop
SupervisorFrame = Ready | JobRefused | JobProgress | JobSealed | JobFailed | CheckpointDone


# --- supervisor and worker ------------------------------------------------------------------------------------------


class WorkerJob(Frame, frozen=True, tag="worker-job"):
    """To the worker.

    Descriptors: the model (sealed memfd, safetensors), the snapshot (Parquet, read-only; absent for ``identity``).
    ``checkpoint`` is a path below the trainer's state folder; a file there is resumed from.
    """

    study: Study
    round: RoundNumber
    round_kind: RoundKind
    site: Name
    model: Digest
    snapshot: Digest | None
    checkpoint: str
    checkpoint_every_s: Positive
    threads: Count


class WorkerProgress(Frame, frozen=True, tag="worker-progress"):
    """From the worker, about every second and after each checkpoint."""

    step: Annotated[int, Meta(ge=0)]
    steps: Annotated[int, Meta(ge=0)]
    checkpoint_step: Annotated[int, Meta(ge=0)]
    loss: float | None = None


class WorkerDone(Frame, frozen=True, tag="worker-done"):
    """From the worker.

    Descriptor: a memfd with the raw update (local minus global, safetensors, float32); none in an evaluation round.
    Nothing of it is believed before the gate has seen it.
    """

    rows: Annotated[int, Meta(ge=0)]
    metrics: Annotated[tuple[MetricValue, ...], Meta(max_length=32)]


class WorkerFailed(Frame, frozen=True, tag="worker-failed"):
    """From the worker: it cannot do this job, and why (never a patient's value)."""

    reason: Reason
    text: Text
    code: Code = ""


class WorkerCheckpointed(Frame, frozen=True, tag="worker-checkpointed"):
    """From the worker: answer to ``CheckpointNow``."""

    step: Annotated[int, Meta(ge=0)]


SupervisorToWorker = WorkerJob | CheckpointNow
WorkerFrame = WorkerProgress | WorkerDone | WorkerFailed | WorkerCheckpointed
