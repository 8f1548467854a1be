# SPDX-License-Identifier: Apache-2.0
"""What the aggregator says: each command of a round as the message that carries it.

Rule: pure; a message is made from the store's rows alone, so that it can be made again after any restart.
"""

from typing import assert_never

from fedagent.aggregator.round_events import SendCancel, SendReceipt, SendRefusal
from fedagent.aggregator.rounds import Part, Round
from fedagent.aggregator.store import ModelRecord, StudyRecord
from fedagent.aggregator.tables import StudyPhase
from fedagent.security.sealing import model_key_context, seal
from fedagent.wire.messages import (
    Announcement,
    Cancel,
    ModelKey,
    OpenStudy,
    Reason,
    Receipt,
    Refusal,
    RoundKind,
)

Verdict = SendReceipt | SendRefusal | SendCancel
"""What a site must hear about its part; owed to it until its next word shows that it knows."""


def verdict_letter(round_: Round, verdict: Verdict) -> Receipt | Refusal | Cancel:
    """The message to the site."""
    match verdict:
        case SendReceipt(blob=blob):
            return Receipt(study=round_.study, round=round_.number, blob=blob)
        case SendRefusal(reason=reason, text=text):
            return Refusal(study=round_.study, round=round_.number, reason=reason, text=text[:500])
        case SendCancel(text=text):
            return Cancel(
                study=round_.study, round=round_.number, reason=Reason.STUDY_STOPPED, text=text[:500]
            )
        case _:
            assert_never(verdict)


def verdict_key(study: str, site: str) -> str:
    """Its key in the outbox: one a study and site, so a newer verdict takes the place of an older one."""
    return f"{study}/{site}"


def announcement(
    record: StudyRecord, round_: Round, model: ModelRecord, aggregator_key: bytes
) -> Announcement:
    """The study's retained announcement: its open round, or (with the next number) that it has ended."""
    open_ = record.phase is StudyPhase.RUNNING
    return Announcement(
        study=record.study,
        round=round_.number if open_ else round_.number + 1,
        round_kind=round_.kind if open_ else RoundKind.ENDED,
        model=model.reference,
        aggregator_key=aggregator_key,
        deadline_at=round_.deadline_at,
    )


def model_key(round_: Round, part: Part, model: ModelRecord) -> ModelKey | None:
    """The model's key, sealed to the trainer of this part; None where the site has not joined.

    Raises:
        WireError: the trainer's key is no key.
    """
    if part.trainer_key is None:
        return None
    context = model_key_context(round_.study, round_.number, part.site, model.reference.blob)
    return ModelKey(
        study=round_.study,
        round=round_.number,
        blob=model.reference.blob,
        secret=seal(part.trainer_key, model.key, context=context),
    )


def open_study(round_: Round) -> OpenStudy:
    """The study's entry in a hello."""
    return OpenStudy(study=round_.study, round=round_.number)
