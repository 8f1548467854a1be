# SPDX-License-Identifier: Apache-2.0
"""An approval: root's word that one exact study may use one dataset here.

Rule: the supervisor and the daemon judge an approval by this one function; only root can write the file.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from fedagent.conditions.condition import Said
from fedagent.conditions.site import BEYOND_APPROVAL, CHANGED_SINCE_APPROVAL, NOT_APPROVED
from fedagent.wire.messages import RoundKind
from fedagent.wire.study import Study, study_digest
from fedagent.wire.values import Name


class Approval(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The file ``approvals.d/STUDY.toml``.

    Attributes:
        digest: of the study as it was approved, 64 hexadecimal digits.
        dataset: the local dataset that it may read.
        approved_at: ISO 8601, for people.
    """

    study: Name
    digest: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    dataset: Name
    approved_by: str
    approved_at: str
    rounds: Annotated[int, Meta(ge=1)] | None = None
    """At most this many rounds; none: as the study says."""


def objection(study: Study, round_number: int, approval: Approval | None, kind: RoundKind) -> Said | None:
    """Why this round of this study may not be worked on here, or None where it may.

    Args:
        kind: after the approved rounds one more may evaluate the final model; none may train.
    """
    if approval is None:
        return NOT_APPROVED(study=study.name)
    if approval.study != study.name or approval.digest != study_digest(study).hex():
        return CHANGED_SINCE_APPROVAL(study=study.name)
    limit = approval.rounds if approval.rounds is not None else study.federation.rounds
    if round_number > limit + (kind is RoundKind.EVALUATE):
        return BEYOND_APPROVAL(round=round_number, study=study.name, rounds=limit)
    return None
