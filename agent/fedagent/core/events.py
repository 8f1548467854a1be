# SPDX-License-Identifier: Apache-2.0
"""Everything that can happen to a site daemon, as values in its one inbox."""

from collections.abc import Mapping

import msgspec

from fedagent.conditions.condition import Said
from fedagent.core.approval import Approval
from fedagent.core.facts import Facts
from fedagent.core.governor import ManualPause
from fedagent.core.settings import GovernorSettings
from fedagent.wire import frames
from fedagent.wire.manifest import Manifest
from fedagent.wire.messages import AggregatorMessage


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something happened."""


class Sampled(Event, frozen=True, kw_only=True):
    """The machine was looked at."""

    facts: Facts


class Connected(Event, frozen=True, kw_only=True):
    """The broker accepted us; whatever we had published or subscribed may be gone."""


class Disconnected(Event, frozen=True, kw_only=True):
    """The broker is not reachable, and why."""

    reason: Said


class MessageArrived(Event, frozen=True, kw_only=True):
    """A verified message of the aggregator; ``payload`` is the signed envelope as it came."""

    message: AggregatorMessage
    payload: bytes


class MessageRefused(Event, frozen=True, kw_only=True):
    """A message came that is not what it must be; nothing was changed by it."""

    said: Said


class ApprovalsRead(Event, frozen=True, kw_only=True):
    """The approvals folder as it is now, by study."""

    approvals: Mapping[str, Approval]


class ModelFetched(Event, frozen=True, kw_only=True):
    """The global model's blob is complete and durable."""

    study: str
    blob: bytes


class TrainerCame(Event, frozen=True, kw_only=True):
    """The trainer's first frame."""

    ready: frames.Ready


class TrainerSaid(Event, frozen=True, kw_only=True):
    """A later frame of the trainer (its descriptors were taken by the shell)."""

    frame: frames.JobRefused | frames.JobProgress | frames.JobFailed | frames.CheckpointDone


class UpdateSpooled(Event, frozen=True, kw_only=True):
    """The update is durable in the spool, and what the gate said of it."""

    sealed: frames.JobSealed
    manifest: Manifest


class TrainerLost(Event, frozen=True, kw_only=True):
    """The trainer ended, or never came."""

    reason: Said


class PauseAsked(Event, frozen=True, kw_only=True):
    """``fedagent pause``."""

    pause: ManualPause


class ResumeAsked(Event, frozen=True, kw_only=True):
    """``fedagent resume``."""


class PolicyChanged(Event, frozen=True, kw_only=True):
    """The settings were read anew and are valid."""

    policy: GovernorSettings


class Woke(Event, frozen=True, kw_only=True):
    """Time passed; nothing else."""


class StopAsked(Event, frozen=True, kw_only=True):
    """The daemon is to end: ask the worker for a checkpoint and let it go."""
