# SPDX-License-Identifier: Apache-2.0
"""What the journal says about a round: one record each, with the round's fields.

Rule: each record has the study and the round, and the site where it is about one, so that ``journalctl`` can select it.
"""

import logging
from typing import assert_never

from fedagent.aggregator.rounds import Round, left_out
from fedagent.conditions.aggregator import (
    COMBINES_METRICS,
    COMBINES_UPDATES,
    EVALUATION_OPEN,
    RESULT_HERE,
    ROUND_CLOSED_WITHOUT,
    ROUND_FULL,
    ROUND_IS_OPEN,
    ROUND_WAITS,
    SITE_CANCELLED,
    SITE_DECLINES,
    SITE_REFUSED,
    STUDY_IS_OVER,
    UPDATE_DELETED,
    UPDATE_HERE,
    UPDATE_UNUSABLE,
)
from fedagent.conditions.condition import Said
from fedagent.journal import tell
from fedagent.wire.messages import Cancel, Decline, Receipt, Refusal, RoundKind

log = logging.getLogger(__name__)


def round_opened(round_: Round) -> None:
    """Sites can take part."""
    _tell(round_, ROUND_IS_OPEN(study=round_.study, round=round_.number))


def round_waits(round_: Round) -> None:
    """Its deadline passed, and it needs more updates."""
    _tell(round_, ROUND_WAITS(study=round_.study, round=round_.number, reason=round_.reason))


def round_combined(round_: Round, count: int) -> None:
    """So many of its sites are combined now."""
    name, number, sites = round_.study, round_.number, len(round_.parts)
    if round_.kind is RoundKind.EVALUATE:
        said = COMBINES_METRICS(study=name, round=number, count=count, sites=sites)
    else:
        said = COMBINES_UPDATES(study=name, round=number, count=count, sites=sites)
    _tell(round_, said)


def round_closed(round_: Round, following: RoundKind) -> None:
    """It counts; and what comes after it."""
    name, number, missing = round_.study, round_.number, left_out(round_)
    if missing:
        _tell(round_, ROUND_CLOSED_WITHOUT(study=name, round=number, sites=", ".join(missing)))
    else:
        _tell(round_, ROUND_FULL(study=name, round=number))
    match following:
        case RoundKind.TRAIN:
            said = ROUND_IS_OPEN(study=name, round=number + 1)
        case RoundKind.EVALUATE:
            said = EVALUATION_OPEN(study=name)
        case RoundKind.ENDED:
            said = STUDY_IS_OVER(study=name)
        case _:
            assert_never(following)
    tell(log, said, study=name, round=number + 1)


def site_told(round_: Round, site: str, letter: Receipt | Refusal | Cancel) -> None:
    """The site hears about its part."""
    name, number = round_.study, round_.number
    match letter:
        case Receipt() if round_.kind is RoundKind.EVALUATE:
            said = RESULT_HERE(study=name, round=number, site=site)
        case Receipt():
            said = UPDATE_HERE(study=name, round=number, site=site)
        case Refusal(reason=reason, text=text):
            said = SITE_REFUSED(study=name, round=number, site=site, reason=reason, text=text)
        case Cancel(text=text):
            said = SITE_CANCELLED(study=name, round=number, site=site, text=text)
        case _:
            assert_never(letter)
    _tell(round_, said, site)


def site_declines(round_: Round, site: str, letter: Decline) -> None:
    """The site will send nothing."""
    said = SITE_DECLINES(
        study=round_.study, round=round_.number, site=site, reason=letter.reason, text=letter.text
    )
    _tell(round_, said, site)


def update_unusable(round_: Round, site: str, reason: Said) -> None:
    """The site's update cannot be used."""
    said = UPDATE_UNUSABLE(study=round_.study, round=round_.number, site=site, reason=reason)
    _tell(round_, said, site)


def update_deleted(round_: Round, site: str) -> None:
    """The bytes of the site's update are gone."""
    _tell(round_, UPDATE_DELETED(study=round_.study, round=round_.number, site=site), site)


def _tell(round_: Round, said: Said, site: str | None = None) -> None:
    tell(log, said, study=round_.study, round=round_.number, site=site)
