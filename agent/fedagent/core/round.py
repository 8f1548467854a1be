# SPDX-License-Identifier: Apache-2.0
"""Where a site stands in a round: one table of phase and trigger.

Rule: a missing entry is an error. The diagram in ``ARCHITECTURE.md`` is generated from ``TABLE``.
"""

from enum import StrEnum
from typing import Final

from fedagent.conditions.site import WRONG_STEP
from fedagent.errors import TransitionError


class Phase(StrEnum):
    """A site's part in the current round of one study."""

    UNAPPROVED = "waiting for approval"
    JOINING = "joining"
    FETCHING = "fetching the model"
    READY = "ready to train"
    TRAINING = "training"
    SPOOLED = "sending the update"
    DELIVERED = "delivered"
    DECLINED = "declined"
    ENDED = "ended"


class Trigger(StrEnum):
    """What moves a site from one phase to the next."""

    ANNOUNCED = "announced"
    STUDY_ENDED = "study ended"
    APPROVED = "approved"
    REVOKED = "revoked"
    KEY_CAME = "key came"
    MODEL_CAME = "model came"
    JOB_GIVEN = "job given"
    VACATED = "vacated"
    UPDATE_SPOOLED = "update spooled"
    FAILED = "failed"
    RECEIPT_CAME = "receipt came"
    REFUSED = "refused"
    MODEL_LOST = "model lost"
    UPDATE_LOST = "update lost"


_OPEN: Final = (Phase.UNAPPROVED, Phase.JOINING, Phase.FETCHING, Phase.READY, Phase.TRAINING, Phase.SPOOLED)
_WORKING: Final = (Phase.JOINING, Phase.FETCHING, Phase.READY, Phase.TRAINING)

TABLE: Final[dict[tuple[Phase, Trigger], Phase]] = (
    {(phase, Trigger.ANNOUNCED): Phase.UNAPPROVED for phase in Phase}
    | {(phase, Trigger.STUDY_ENDED): Phase.ENDED for phase in Phase}
    | {(phase, Trigger.REVOKED): Phase.UNAPPROVED for phase in _WORKING}
    | {(phase, Trigger.REFUSED): Phase.DECLINED for phase in (*_OPEN, Phase.DELIVERED)}
    | {(phase, Trigger.FAILED): Phase.DECLINED for phase in _WORKING}
    | {
        (Phase.UNAPPROVED, Trigger.APPROVED): Phase.JOINING,
        (Phase.JOINING, Trigger.KEY_CAME): Phase.FETCHING,
        (Phase.FETCHING, Trigger.MODEL_CAME): Phase.READY,
        (Phase.READY, Trigger.JOB_GIVEN): Phase.TRAINING,
        (Phase.TRAINING, Trigger.VACATED): Phase.READY,
        (Phase.TRAINING, Trigger.UPDATE_SPOOLED): Phase.SPOOLED,
        (Phase.READY, Trigger.UPDATE_SPOOLED): Phase.SPOOLED,
        (Phase.SPOOLED, Trigger.RECEIPT_CAME): Phase.DELIVERED,
        (Phase.READY, Trigger.MODEL_LOST): Phase.FETCHING,
        (Phase.SPOOLED, Trigger.UPDATE_LOST): Phase.READY,
    }
)


def move(phase: Phase, trigger: Trigger) -> Phase:
    """The next phase.

    Raises:
        TransitionError: the table has no such entry.
    """
    try:
        return TABLE[phase, trigger]
    except KeyError:
        raise TransitionError(WRONG_STEP(phase=phase.value, trigger=trigger.value)) from None
