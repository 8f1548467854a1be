# SPDX-License-Identifier: Apache-2.0
"""The site daemon's whole state, as one value.

Rule: ``studies`` and ``record`` are durable (written with the step that changed them); the rest is found anew at start.
"""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from fedagent.conditions.condition import Said
from fedagent.core.approval import Approval
from fedagent.core.facts import Facts, Instant
from fedagent.core.governor import ManualPause, Standing
from fedagent.core.round import Phase
from fedagent.core.settings import GovernorSettings
from fedagent.wire import frames
from fedagent.wire.messages import Announcement, MetricValue, UpdateOffer


class LastError(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong last: the condition's code and text, and when, by the wall clock."""

    code: str
    text: str
    at: float


class StudyState(msgspec.Struct, frozen=True, kw_only=True):
    """One study at this site.

    Attributes:
        payload: the announcement's signed envelope, for the supervisor.
        since: wall-clock time of the last change of ``phase``.
        model_key: sealed to the trainer's key; with ``trainer_key`` it was sealed for.
        update: digest of the spooled update.
        deaths: how often the trainer died during this round's job.
        note: what the phase waits for, or why it ended.
        error: what went wrong last in this study, in whatever round.
    """

    announcement: Announcement
    payload: bytes
    phase: Phase
    since: float
    note: Said | None = None
    dataset: str = ""
    trainer_key: bytes = b""
    model_key: bytes = b""
    offer: UpdateOffer | None = None
    update: bytes = b""
    rows: int = 0
    deaths: int = 0
    metrics: tuple[MetricValue, ...] = ()
    error: LastError | None = None

    @property
    def name(self) -> str:
        """The study's name."""
        return self.announcement.study.name

    @property
    def round(self) -> int:
        """The current round's number."""
        return self.announcement.round


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What the daemon remembers over restarts.

    Attributes:
        trainer_key: the trainer's public key, empty until a trainer came up once.
        yields: how often a running job got out of the way; ``yielded_s`` for how long in all.
        error: what went wrong last at this site, in a study or not.
    """

    trainer_key: bytes = b""
    pause: ManualPause | None = None
    yields: int = 0
    yielded_s: float = 0.0
    error: LastError | None = None


class Stage(StrEnum):
    """Where the trainer stands."""

    ABSENT = "absent"
    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    FROZEN = "frozen"
    VACATING = "vacating"


class TrainerState(msgspec.Struct, frozen=True, kw_only=True):
    """The trainer as the daemon sees it; ``since`` and ``retry_at`` are monotonic."""

    stage: Stage = Stage.ABSENT
    since: float = 0.0
    study: str | None = None
    failures: int = 0
    retry_at: float = 0.0
    snapshots: tuple[frames.SnapshotEntry, ...] = ()
    progress: frames.JobProgress | None = None


class AgentState(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that ``step`` decides from.

    Attributes:
        silent_since: when we first asked the aggregator for what it has not answered yet; monotonic.
        asked_at: monotonic too; ``ask_after_s`` later we ask again, where somebody waits.
        instance: which start of the daemon this is, a random number.
        clock_s: what the wall clock is ahead of the monotonic one; None before the first event.
        displaced: another daemon with our identity was there first: we stop.
    """

    site: str
    policy: GovernorSettings
    observe: bool
    keep_warm_s: float
    standing: Standing
    facts: Facts | None = None
    connected: bool = False
    silent_since: float | None = None
    asked_at: float = 0.0
    ask_after_s: float = 0.0
    stopping: bool = False
    instance: bytes = bytes(32)
    displaced: bool = False
    clock_s: float | None = None
    approvals: Mapping[str, Approval] = {}
    studies: Mapping[str, StudyState] = {}
    trainer: TrainerState = TrainerState()
    record: Record = Record()


def note_error(state: AgentState, said: Said, now: Instant, *, study: str | None = None) -> AgentState:
    """The state that remembers what went wrong, at the site and in the study that it happened to."""
    error = LastError(code=said.code, text=said.text, at=now.wall)
    state = msgspec.structs.replace(state, record=msgspec.structs.replace(state.record, error=error))
    known = state.studies.get(study or "")
    if known is None:
        return state
    studies = {**state.studies, known.name: msgspec.structs.replace(known, error=error)}
    return msgspec.structs.replace(state, studies=studies)
