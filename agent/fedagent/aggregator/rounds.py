# SPDX-License-Identifier: Apache-2.0
"""One round: what came in, what follows from it, when it is full. One pure step.

Rule: a round never closes with fewer stored updates than its quorum, no part is counted twice, and every event that a
site can cause is answered, never an error.
"""

from typing import Final, assert_never

import msgspec

from fedagent.aggregator.round_events import (
    Announce,
    Collect,
    Command,
    Declined,
    Event,
    Fold,
    Folded,
    Forget,
    Joined,
    Offered,
    Rejected,
    SendCancel,
    SendKey,
    SendReceipt,
    SendRefusal,
    Stopped,
    Stored,
    Ticked,
)
from fedagent.aggregator.tables import (
    PART_TABLE,
    ROUND_TABLE,
    PartEvent,
    PartPhase,
    RoundEvent,
    RoundPhase,
    advance,
)
from fedagent.conditions.aggregator import (
    ANOTHER_UPDATE_STORED,
    BELOW_QUORUM,
    NO_PART,
    NOT_NAMED,
    ROUND_AWAY,
    ROUND_REOPENED,
    STORED_UNASKED,
    TOO_FEW_FOLDED,
)
from fedagent.conditions.condition import Said
from fedagent.errors import TransitionError
from fedagent.wire.messages import Reason, RoundKind
from fedagent.wire.study import Study

# --- state --------------------------------------------------------------------------------------------------------


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One site's part in a round.

    Attributes:
        since: when it got into its phase, in seconds since the epoch.
        trainer_key: of the last join, X25519; the model's key is sealed to it.
        blob: digest of the update that was offered.
        reason: why it was declined or refused.
    """

    site: str
    since: float
    phase: PartPhase = PartPhase.INVITED
    trainer_key: bytes | None = None
    blob: bytes | None = None
    reason: Reason | None = None
    text: str = ""


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """One round of one study; times in seconds since the epoch.

    Attributes:
        since: when it got into its phase.
        parts: one a target site, in the order of their names.
        reason: why it is still open or why it failed.
    """

    study: str
    number: int
    kind: RoundKind
    quorum: int
    deadline_s: float
    opened_at: float
    deadline_at: float
    since: float
    parts: tuple[Part, ...]
    phase: RoundPhase = RoundPhase.OPEN
    extensions: int = 0
    closed_at: float | None = None
    reason: Said | None = None


Outcome = tuple[Round, tuple[Command, ...]]

ACTIVE: Final = frozenset({RoundPhase.OPEN, RoundPhase.CLOSING})
_NOT_EXPECTED: Final = frozenset({PartPhase.DECLINED, PartPhase.REFUSED})


def open_round(study: Study, number: int, kind: RoundKind, now: float) -> Round:
    """A round that was just opened: every site is invited."""
    federation = study.federation
    return Round(
        study=study.name,
        number=number,
        kind=kind,
        quorum=federation.quorum,
        deadline_s=federation.deadline_s,
        opened_at=now,
        deadline_at=now + federation.deadline_s,
        since=now,
        parts=tuple(Part(site=site, since=now) for site in sorted(federation.sites)),
    )


def part_of(round_: Round, site: str) -> Part | None:
    """The site's part, or None where it is no member."""
    return next((part for part in round_.parts if part.site == site), None)


def sites_in(round_: Round, *phases: PartPhase) -> tuple[str, ...]:
    """The sites whose part is in one of these phases, in the order of their names."""
    return tuple(part.site for part in round_.parts if part.phase in phases)


def left_out(round_: Round) -> tuple[str, ...]:
    """The sites without which a closed round was closed, in the order of their names."""
    return tuple(part.site for part in round_.parts if part.phase is not PartPhase.FOLDED)


def step(round_: Round, event: Event, now: float) -> Outcome:
    """The round after this event, and what is to be done; a repeat changes nothing and is answered again.

    Raises:
        TransitionError: an internal event that cannot happen in this phase.
    """
    after, commands = _taken(round_, event, now)
    return _dated(round_, after, now), commands


def _dated(before: Round, after: Round, now: float) -> Round:
    """With the time where a phase changed."""
    parts = tuple(
        new if new.phase is old.phase else msgspec.structs.replace(new, since=now)
        for old, new in zip(before.parts, after.parts, strict=True)
    )
    since = after.since if after.phase is before.phase else now
    return msgspec.structs.replace(after, parts=parts, since=since)


def _taken(round_: Round, event: Event, now: float) -> Outcome:
    match event:
        case Joined() | Offered() | Declined():
            return _settled(_heard(round_, event), now)
        case Stored():
            return _settled(_stored(round_, event), now)
        case Rejected():
            return _settled(_rejected(round_, event), now)
        case Ticked():
            return _settled((round_, ()), now)
        case Folded():
            return _folded(round_, event, now)
        case Stopped():
            return _stopped(round_, event, now)
        case _:
            assert_never(event)


# --- what sites say ---------------------------------------------------------------------------------------------


def _heard(round_: Round, event: Joined | Offered | Declined) -> Outcome:
    part = part_of(round_, event.site)
    if part is None:
        said = NOT_NAMED(study=round_.study, site=event.site)
        return round_, (SendRefusal(event.site, Reason.NOT_A_MEMBER, said.text),)
    if round_.phase not in ACTIVE:
        return round_, _answer_after_end(part, event)
    match event:
        case Joined():
            return _joined(round_, part, event)
        case Offered():
            return _offered(round_, part, event)
        case Declined():
            return _declined(round_, part, event)
        case _:
            assert_never(event)


def _answer_after_end(part: Part, event: Joined | Offered | Declined) -> tuple[Command, ...]:
    match event:
        case Offered() if part.phase is PartPhase.FOLDED and part.blob == event.blob:
            return (SendReceipt(part.site, event.blob),)
        case Offered() | Joined():
            return (SendRefusal(part.site, Reason.ROUND_CLOSED, ROUND_AWAY().text),)
        case Declined():
            return ()
        case _:
            assert_never(event)


def _joined(round_: Round, part: Part, event: Joined) -> Outcome:
    phase = advance(PART_TABLE, part.phase, PartEvent.JOIN)
    if phase is PartPhase.REFUSED:
        return round_, (_refusal(part),)
    if phase is PartPhase.JOINED:
        part = msgspec.structs.replace(part, blob=None, reason=None, text="")
    changed = msgspec.structs.replace(part, phase=phase, trainer_key=event.trainer_key)
    return _with(round_, changed), (SendKey(part.site),)


def _offered(round_: Round, part: Part, event: Offered) -> Outcome:
    phase = advance(PART_TABLE, part.phase, PartEvent.OFFER)
    if phase is PartPhase.REFUSED:
        return round_, (_refusal(part),)
    if phase is PartPhase.STORED:
        if part.blob == event.blob:
            return round_, (SendReceipt(part.site, event.blob),)
        said = ANOTHER_UPDATE_STORED(site=part.site, round=round_.number)
        return round_, (SendRefusal(part.site, Reason.ALREADY_COUNTED, said.text),)
    forget = (Forget(part.site, part.blob),) if part.blob and part.blob != event.blob else ()
    changed = msgspec.structs.replace(part, phase=phase, blob=event.blob, reason=None, text="")
    return _with(round_, changed), (*forget, Collect(part.site))


def _declined(round_: Round, part: Part, event: Declined) -> Outcome:
    phase = advance(PART_TABLE, part.phase, PartEvent.DECLINE)
    if phase is not PartPhase.DECLINED:
        return round_, ()
    forget = (Forget(part.site, part.blob),) if part.blob else ()
    changed = msgspec.structs.replace(part, phase=phase, blob=None, reason=event.reason, text=event.text)
    return _with(round_, changed), forget


# --- what happens here --------------------------------------------------------------------------------------------


def _stored(round_: Round, event: Stored) -> Outcome:
    part = _member(round_, event.site)
    phase = advance(PART_TABLE, part.phase, PartEvent.STORE)
    if round_.phase not in ACTIVE or part.blob != event.blob:
        said = STORED_UNASKED(site=event.site, study=round_.study, round=round_.number)
        raise TransitionError(said)
    return _with(round_, msgspec.structs.replace(part, phase=phase)), (SendReceipt(part.site, event.blob),)


def _rejected(round_: Round, event: Rejected) -> Outcome:
    part = _member(round_, event.site)
    phase = advance(PART_TABLE, part.phase, PartEvent.REFUSE)
    changed = msgspec.structs.replace(part, phase=phase, blob=None, reason=event.reason, text=event.text)
    after = _with(round_, changed)
    forget = (Forget(part.site, part.blob),) if part.blob else ()
    commands: tuple[Command, ...] = (*forget, _refusal(changed))
    if after.phase is not RoundPhase.CLOSING or part.phase is not PartPhase.STORED:
        return after, commands
    stored = sites_in(after, PartPhase.STORED)
    if len(stored) >= after.quorum:
        return _moved(after, RoundEvent.REFOLD), (*commands, Fold(stored))
    reason = ROUND_REOPENED(site=event.site, reason=event.reason)
    return msgspec.structs.replace(_moved(after, RoundEvent.REOPEN), reason=reason), commands


def _folded(round_: Round, event: Folded, now: float) -> Outcome:
    if len(event.sites) < round_.quorum:
        raise TransitionError(TOO_FEW_FOLDED(count=len(event.sites), quorum=round_.quorum))
    closed = msgspec.structs.replace(_moved(round_, RoundEvent.CLOSE), closed_at=now, reason=None)
    commands: list[Command] = []
    parts = []
    for part in round_.parts:
        move = PartEvent.FOLD if part.site in event.sites else PartEvent.CLOSE
        phase = advance(PART_TABLE, part.phase, move)
        parts.append(msgspec.structs.replace(part, phase=phase))
        if part.blob is not None:
            commands.append(Forget(part.site, part.blob))
        if phase is PartPhase.LATE and part.phase in (PartPhase.OFFERED, PartPhase.STORED):
            commands.append(SendRefusal(part.site, Reason.ROUND_CLOSED, ROUND_AWAY().text))
    return msgspec.structs.replace(closed, parts=tuple(parts)), tuple(commands)


def _stopped(round_: Round, event: Stopped, now: float) -> Outcome:
    after = msgspec.structs.replace(_moved(round_, RoundEvent.STOP), closed_at=now, reason=event.said)
    commands: list[Command] = [Forget(part.site, part.blob) for part in round_.parts if part.blob is not None]
    commands += [
        SendCancel(part.site, event.said.text) for part in round_.parts if part.phase not in _NOT_EXPECTED
    ]
    return after, tuple(commands)


# --- when a round is full -----------------------------------------------------------------------------------------


def _settled(outcome: Outcome, now: float) -> Outcome:
    """Closes the round where it is full, or at its deadline; extends it at its deadline below quorum."""
    round_, commands = outcome
    if round_.phase is not RoundPhase.OPEN:
        return outcome
    stored = sites_in(round_, PartPhase.STORED)
    expected = [part for part in round_.parts if part.phase not in _NOT_EXPECTED]
    if len(stored) >= round_.quorum and (len(stored) == len(expected) or now >= round_.deadline_at):
        return msgspec.structs.replace(_moved(round_, RoundEvent.FILL), reason=None), (
            *commands,
            Fold(stored),
        )
    if now < round_.deadline_at:
        return outcome
    extended = msgspec.structs.replace(
        _moved(round_, RoundEvent.EXTEND),
        deadline_at=now + round_.deadline_s,
        extensions=round_.extensions + 1,
        reason=_below_quorum(round_, len(stored)),
    )
    return extended, (*commands, Announce())


def _below_quorum(round_: Round, stored: int) -> Said:
    waiting = sites_in(round_, PartPhase.INVITED, PartPhase.JOINED, PartPhase.OFFERED)
    away = [
        f"{part.site} ({part.phase}: {part.reason})" for part in round_.parts if part.phase in _NOT_EXPECTED
    ]
    return BELOW_QUORUM(
        stored=stored,
        quorum=round_.quorum,
        waiting=", ".join(waiting) or "nobody",
        away=", ".join(away) or "nobody",
    )


def _moved(round_: Round, event: RoundEvent) -> Round:
    return msgspec.structs.replace(round_, phase=advance(ROUND_TABLE, round_.phase, event))


def _with(round_: Round, part: Part) -> Round:
    parts = tuple(part if each.site == part.site else each for each in round_.parts)
    return msgspec.structs.replace(round_, parts=parts)


def _member(round_: Round, site: str) -> Part:
    part = part_of(round_, site)
    if part is None:
        raise TransitionError(NO_PART(site=site, study=round_.study))
    return part


def _refusal(part: Part) -> SendRefusal:
    return SendRefusal(part.site, part.reason or Reason.UNREADABLE, part.text)
