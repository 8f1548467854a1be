# SPDX-License-Identifier: Apache-2.0
"""The condition behind each reason that the ends give each other.

Rule: of what a worker or a library says of a failure nothing leaves the site: it may quote data. The words of these
conditions may.
"""

from collections.abc import Mapping
from typing import Final

from fedagent.conditions import site
from fedagent.conditions.condition import Condition, Said
from fedagent.wire.messages import Reason

REASONS: Final[Mapping[Reason, Condition]] = {
    Reason.CRASHED: site.TRAINING_CRASHED,
    Reason.OUT_OF_MEMORY: site.OUT_OF_MEMORY,
    Reason.STUCK: site.TRAINING_STUCK,
    Reason.NO_SPACE: site.NO_ROOM_TO_TRAIN,
    Reason.NOT_FINITE: site.NOT_FINITE,
    Reason.TOO_FEW_ROWS: site.TOO_FEW_PATIENTS,
    Reason.NO_DATASET: site.NO_SNAPSHOT,
    Reason.DATA_DOES_NOT_FIT: site.DATA_DO_NOT_FIT,
    Reason.REVOKED: site.NOT_OR_NO_LONGER_APPROVED,
    Reason.GATE: site.NOTHING_MAY_LEAVE,
    Reason.NOT_A_MEMBER: site.NOT_A_MEMBER,
    Reason.OTHER_STUDY: site.OTHER_STUDY,
    Reason.ROUND_CLOSED: site.ROUND_CLOSED,
    Reason.ALREADY_COUNTED: site.ALREADY_COUNTED,
    Reason.UNREADABLE: site.UNREADABLE,
    Reason.STUDY_STOPPED: site.STUDY_STOPPED,
}


def in_words(reason: Reason, text: str = "", code: str = "") -> Said:
    """The reason, in the words of whoever gave it where they gave any.

    Args:
        code: theirs, where they said a condition of their own.
    """
    said = REASONS[reason]()
    return Said(code or said.code, text or said.text)
