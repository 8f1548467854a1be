# SPDX-License-Identifier: Apache-2.0
"""One site's part in a round as people see it: where it is, what it waits for, what went wrong with it last.

Rule: derived from the store when somebody asks; each phase has its words here.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from fedagent.aggregator.roster import SiteRecord
from fedagent.aggregator.rounds import ACTIVE, Part, Round
from fedagent.aggregator.tables import PartPhase
from fedagent.core.round import Phase

SILENT_S: Final = 180.0
"""A site that is there says hello every minute at least; one that was not heard for so long is called silent."""


class ErrorView(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong last, and when, in Unix seconds."""

    code: str
    text: str
    at: float


class PartStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One site's part in the newest round; times in Unix seconds.

    Attributes:
        connected: None where the site never spoke to us; ``connected_since`` is the last change.
        heard_at: its last message.
        verdict: why the site does not train now; empty where it may.
        text: what the site last said of its work.
        waits_for: what completes "waits for"; empty where nothing more is expected.
    """

    site: str
    phase: str
    since: float
    connected: bool | None
    connected_since: float | None
    heard_at: float | None
    verdict: str
    text: str
    waits_for: str
    until: float | None
    last_error: ErrorView | None


_EXPECTED: Final[Mapping[PartPhase, str]] = {
    PartPhase.INVITED: "the site to join",
    PartPhase.JOINED: "the site's update",
    PartPhase.OFFERED: "the rest of the site's update",
}
_AT_WORK: Final = (PartPhase.INVITED, PartPhase.JOINED)
_SAID: Final[Mapping[PartPhase, tuple[str, ...]]] = {
    PartPhase.INVITED: (Phase.JOINING.value,),
    PartPhase.JOINED: (Phase.UNAPPROVED.value, Phase.JOINING.value),
}
"""What a site said before it got into this phase, or what the phase says itself; in others nothing of its work matters."""

_DONE: Final[Mapping[PartPhase, str]] = {
    PartPhase.STORED: "the other sites",
    PartPhase.DECLINED: "this round to end: the site takes no part in it",
    PartPhase.REFUSED: "this round to end: the site's update was not taken",
}


def part_status(
    round_: Round,
    part: Part,
    site: SiteRecord | None,
    *,
    progress: str,
    error: ErrorView | None,
    now: float | None,
) -> PartStatus:
    """The part.

    Args:
        site: what is known of the site; None where it never spoke to us.
        progress: what it last said of its work on this round.
        error: what went wrong last, as far as rounds know.
        now: Unix seconds; None where we hear nobody ourselves, so that nothing can be said of who is away.
    """
    waits_for = _waits(part, site, progress, now) if now is not None and round_.phase in ACTIVE else ""
    return PartStatus(
        site=part.site,
        phase=part.phase.value,
        since=part.since,
        connected=site.online if site else None,
        connected_since=site.since if site else None,
        heard_at=site.heard_at if site else None,
        verdict=site.reason if site and site.online and site.verdict == "no" else "",
        text=progress if progress not in _SAID.get(part.phase, (progress,)) else "",
        waits_for=waits_for,
        until=round_.deadline_at if waits_for else None,
        last_error=_last(error, site),
    )


def _waits(part: Part, site: SiteRecord | None, progress: str, now: float) -> str:
    if part.phase in _DONE:
        return _DONE[part.phase]
    if site is None:
        return "the site, which has never been here: its daemon was never started, or cannot reach the broker"
    if not site.online:
        return "the site to come back: it is not connected to the broker"
    if now - site.heard_at >= SILENT_S:
        return "the site, which is silent"
    if part.phase is PartPhase.INVITED and progress == Phase.UNAPPROVED.value:
        return "the site's administrator to approve the study"
    if part.phase in _AT_WORK and site.verdict == "no":
        return f"the site's machine: {site.reason}"
    return _EXPECTED.get(part.phase, "")


def _last(error: ErrorView | None, site: SiteRecord | None) -> ErrorView | None:
    """The later one of what went wrong in a round and of a message that was refused."""
    if site is None or site.error_at is None or (error is not None and error.at >= site.error_at):
        return error
    return ErrorView(code=site.error_code, text=f"refused a message: {site.error_text}", at=site.error_at)
