# SPDX-License-Identifier: Apache-2.0
"""Everything that the core asks of the shell; performed in order after the step's state is durable."""

import msgspec

from fedagent.conditions.condition import Said
from fedagent.wire import frames
from fedagent.wire.messages import ModelReference, SiteMessage


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """Something to do."""


class Send(Command, frozen=True, kw_only=True):
    """Publish once; nobody waits for it."""

    message: SiteMessage


class Post(Command, frozen=True, kw_only=True):
    """Into the outbox under this key, in the step's transaction, and publish; re-sent until ``Strike``."""

    key: str
    message: SiteMessage


class Strike(Command, frozen=True, kw_only=True):
    """The peer answered: out of the outbox, in the step's transaction."""

    key: str


class RepeatOutbox(Command, frozen=True, kw_only=True):
    """Publish everything that still waits for an answer."""


class FollowStudy(Command, frozen=True, kw_only=True):
    """Subscribe to the study's announcements."""

    study: str


class Fetch(Command, frozen=True, kw_only=True):
    """Get the global model that the site lacks."""

    study: str
    reference: ModelReference


class Grant(Command, frozen=True, kw_only=True):
    """Send these chunks of the update."""

    study: str
    blob: bytes
    chunks: tuple[int, ...]


class DropBlobs(Command, frozen=True, kw_only=True):
    """Delete every blob that no study of these needs any more."""

    keep: frozenset[bytes]


class StartTrainer(Command, frozen=True, kw_only=True):
    """Bring a trainer up."""


class GiveJob(Command, frozen=True, kw_only=True):
    """Hand the job to the trainer, with the model's blob opened for reading."""

    job: frames.Job
    model: bytes


class Freeze(Command, frozen=True, kw_only=True):
    """Stop the worker where it is."""


class Thaw(Command, frozen=True, kw_only=True):
    """Let the worker go on."""


class AskCheckpoint(Command, frozen=True, kw_only=True):
    """Ask the worker to make its state durable."""


class StopJob(Command, frozen=True, kw_only=True):
    """Drop the job of a round that is over, or of a study that was revoked."""

    study: str
    erase: bool


class CloseTrainer(Command, frozen=True, kw_only=True):
    """End supervisor and worker."""


class Tell(Command, frozen=True, kw_only=True):
    """One journal record: a state changed, or a person must act."""

    said: Said
    study: str | None = None
    round: int | None = None
    reason: str | None = None


class Exit(Command, frozen=True, kw_only=True):
    """Nothing is left to do: the daemon ends."""
