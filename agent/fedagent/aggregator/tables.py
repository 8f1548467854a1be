# SPDX-License-Identifier: Apache-2.0
"""The life of a study, of a round, and of a site's part in a round: three tables of state and event.

Rule: a missing entry is an error of ours; whatever a site may lawfully send has an entry in every phase in which it can
arrive.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TypeVar

from fedagent.conditions.aggregator import NO_ENTRY
from fedagent.errors import TransitionError


class StudyPhase(StrEnum):
    """Where a study is; only a running one is announced as open."""

    CREATED = "created"
    RUNNING = "running"
    ENDED = "ended"
    STOPPED = "stopped"
    FAILED = "failed"


class StudyEvent(StrEnum):
    """What moves a study."""

    START = "start"
    END = "end"
    STOP = "stop"
    FAIL = "fail"


class RoundPhase(StrEnum):
    """Where a round is. CLOSING: its updates are being folded."""

    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"
    FAILED = "failed"


class RoundEvent(StrEnum):
    """What moves a round."""

    FILL = "fill"
    EXTEND = "extend"
    REFOLD = "refold"
    REOPEN = "reopen"
    CLOSE = "close"
    STOP = "stop"


class PartPhase(StrEnum):
    """Where one site's part in a round is."""

    INVITED = "invited"
    JOINED = "joined"
    OFFERED = "offered"
    STORED = "stored"
    FOLDED = "folded"
    DECLINED = "declined"
    REFUSED = "refused"
    LATE = "late"


class PartEvent(StrEnum):
    """What moves a part."""

    JOIN = "join"
    OFFER = "offer"
    STORE = "store"
    DECLINE = "decline"
    REFUSE = "refuse"
    FOLD = "fold"
    CLOSE = "close"


STUDY_TABLE: Final[Mapping[tuple[StudyPhase, StudyEvent], StudyPhase]] = {
    (StudyPhase.CREATED, StudyEvent.START): StudyPhase.RUNNING,
    (StudyPhase.CREATED, StudyEvent.STOP): StudyPhase.STOPPED,
    (StudyPhase.RUNNING, StudyEvent.START): StudyPhase.RUNNING,
    (StudyPhase.RUNNING, StudyEvent.END): StudyPhase.ENDED,
    (StudyPhase.RUNNING, StudyEvent.STOP): StudyPhase.STOPPED,
    (StudyPhase.RUNNING, StudyEvent.FAIL): StudyPhase.FAILED,
    (StudyPhase.STOPPED, StudyEvent.STOP): StudyPhase.STOPPED,
}

ROUND_TABLE: Final[Mapping[tuple[RoundPhase, RoundEvent], RoundPhase]] = {
    (RoundPhase.OPEN, RoundEvent.FILL): RoundPhase.CLOSING,
    (RoundPhase.OPEN, RoundEvent.EXTEND): RoundPhase.OPEN,
    (RoundPhase.OPEN, RoundEvent.STOP): RoundPhase.FAILED,
    (RoundPhase.CLOSING, RoundEvent.REFOLD): RoundPhase.CLOSING,
    (RoundPhase.CLOSING, RoundEvent.REOPEN): RoundPhase.OPEN,
    (RoundPhase.CLOSING, RoundEvent.CLOSE): RoundPhase.CLOSED,
    (RoundPhase.CLOSING, RoundEvent.STOP): RoundPhase.FAILED,
}

PART_TABLE: Final[Mapping[tuple[PartPhase, PartEvent], PartPhase]] = {
    (PartPhase.INVITED, PartEvent.JOIN): PartPhase.JOINED,
    (PartPhase.INVITED, PartEvent.OFFER): PartPhase.OFFERED,
    (PartPhase.INVITED, PartEvent.DECLINE): PartPhase.DECLINED,
    (PartPhase.INVITED, PartEvent.REFUSE): PartPhase.REFUSED,
    (PartPhase.INVITED, PartEvent.CLOSE): PartPhase.LATE,
    (PartPhase.JOINED, PartEvent.JOIN): PartPhase.JOINED,
    (PartPhase.JOINED, PartEvent.OFFER): PartPhase.OFFERED,
    (PartPhase.JOINED, PartEvent.DECLINE): PartPhase.DECLINED,
    (PartPhase.JOINED, PartEvent.REFUSE): PartPhase.REFUSED,
    (PartPhase.JOINED, PartEvent.CLOSE): PartPhase.LATE,
    (PartPhase.OFFERED, PartEvent.JOIN): PartPhase.OFFERED,
    (PartPhase.OFFERED, PartEvent.OFFER): PartPhase.OFFERED,
    (PartPhase.OFFERED, PartEvent.STORE): PartPhase.STORED,
    (PartPhase.OFFERED, PartEvent.DECLINE): PartPhase.DECLINED,
    (PartPhase.OFFERED, PartEvent.REFUSE): PartPhase.REFUSED,
    (PartPhase.OFFERED, PartEvent.CLOSE): PartPhase.LATE,
    (PartPhase.STORED, PartEvent.JOIN): PartPhase.STORED,
    (PartPhase.STORED, PartEvent.OFFER): PartPhase.STORED,
    (PartPhase.STORED, PartEvent.STORE): PartPhase.STORED,
    (PartPhase.STORED, PartEvent.DECLINE): PartPhase.STORED,
    (PartPhase.STORED, PartEvent.REFUSE): PartPhase.REFUSED,
    (PartPhase.STORED, PartEvent.FOLD): PartPhase.FOLDED,
    (PartPhase.STORED, PartEvent.CLOSE): PartPhase.LATE,
    # Whoever declined may think again while the round is open: a dataset was corrected, a study approved anew.
    (PartPhase.DECLINED, PartEvent.JOIN): PartPhase.JOINED,
    (PartPhase.DECLINED, PartEvent.OFFER): PartPhase.OFFERED,
    (PartPhase.DECLINED, PartEvent.DECLINE): PartPhase.DECLINED,
    (PartPhase.DECLINED, PartEvent.REFUSE): PartPhase.REFUSED,
    (PartPhase.DECLINED, PartEvent.CLOSE): PartPhase.DECLINED,
    # A refusal is final for the round.
    (PartPhase.REFUSED, PartEvent.JOIN): PartPhase.REFUSED,
    (PartPhase.REFUSED, PartEvent.OFFER): PartPhase.REFUSED,
    (PartPhase.REFUSED, PartEvent.DECLINE): PartPhase.REFUSED,
    (PartPhase.REFUSED, PartEvent.REFUSE): PartPhase.REFUSED,
    (PartPhase.REFUSED, PartEvent.CLOSE): PartPhase.REFUSED,
}

P = TypeVar("P", bound=StrEnum)
E = TypeVar("E", bound=StrEnum)


def advance(table: Mapping[tuple[P, E], P], phase: P, event: E) -> P:
    """The phase that the table gives.

    Raises:
        TransitionError: the table has no such entry.
    """
    try:
        return table[phase, event]
    except KeyError:
        raise TransitionError(NO_ENTRY(table=type(phase).__name__, phase=phase, event=event)) from None
