# SPDX-License-Identifier: Apache-2.0
"""A site's part in its studies: what each message, approval and result changes.

Rule: every function gives the next state and the commands, and a message that is late, repeated or of another round
changes nothing.
"""

from collections.abc import Iterable
from typing import Final, assert_never

import msgspec

from fedagent.conditions.condition import Said
from fedagent.conditions.site import (
    EVALUATION_DELIVERED,
    EVALUATION_SEALED,
    FINAL_MODEL_HERE,
    FINAL_MODEL_OPEN,
    MODEL_HERE,
    OBSERVING,
    PART_ENDED,
    ROUND_DECLINED,
    ROUND_OPEN,
    STUDY_ENDED,
    UPDATE_DELIVERED,
    UPDATE_SEALED,
    WAITS_FOR_KEY,
    WAITS_FOR_RECEIPT,
    WAITS_FOR_ROUND,
    WAITS_FOR_TRAINER,
)
from fedagent.core import commands as do
from fedagent.core.approval import objection
from fedagent.core.facts import Instant
from fedagent.core.reasons import in_words
from fedagent.core.round import Phase, Trigger, move
from fedagent.core.state import AgentState, StudyState, note_error
from fedagent.wire import frames
from fedagent.wire import messages as m
from fedagent.wire.manifest import blob_digest
from fedagent.wire.study import study_digest

Outcome = tuple[AgentState, list[do.Command]]

_KEYED: Final = (Phase.FETCHING, Phase.READY)
_NEEDS_MODEL: Final = (Phase.UNAPPROVED, Phase.JOINING, Phase.FETCHING, Phase.READY, Phase.TRAINING)
_MAY_BE_REVOKED: Final = (Phase.JOINING, Phase.FETCHING, Phase.READY, Phase.TRAINING)
_JUDGED: Final = (m.Reason.NOT_FINITE, m.Reason.UNREADABLE)


def replace_study(state: AgentState, study: StudyState) -> AgentState:
    """The state with this study in place of the one of its name."""
    return msgspec.structs.replace(state, studies={**state.studies, study.name: study})


def advance(study: StudyState, trigger: Trigger, now: Instant, note: Said | None = None) -> StudyState:
    """The study in its next phase."""
    return msgspec.structs.replace(study, phase=move(study.phase, trigger), since=now.wall, note=note)


def hear_hello(state: AgentState, hello: m.AggregatorHello) -> Outcome:
    """The aggregator names the studies that this site may follow."""
    return state, [do.FollowStudy(study=each.study) for each in hello.studies]


def hear_announcement(
    state: AgentState, announcement: m.Announcement, payload: bytes, now: Instant
) -> Outcome:
    """A round is open (or the study has ended)."""
    name, known = announcement.study.name, state.studies.get(announcement.study.name)
    if state.site not in announcement.study.federation.sites:
        return state, []
    if known is not None:
        if announcement.round < known.round:
            return state, []
        if _same_round(announcement, known.announcement):
            renewed = msgspec.structs.replace(known, announcement=announcement, payload=payload)
            return replace_study(state, renewed), []
    study = StudyState(
        announcement=announcement,
        payload=payload,
        phase=Phase.UNAPPROVED,
        since=now.wall,
        rows=known.rows if known else 0,
        metrics=known.metrics if known else (),
        error=known.error if known else None,
    )
    answered = [do.Strike(key=f"{name}/{what}") for what in ("join", "offer", "decline")]
    if announcement.round_kind is m.RoundKind.ENDED:
        study = advance(study, Trigger.STUDY_ENDED, now)
    tell = do.Tell(said=_opened(announcement), study=name, round=announcement.round)
    state = replace_study(state, study)
    state, approval = seek_approval(state, name, now)
    return state, [*answered, drop_blobs(state), tell, *approval]


def _opened(announcement: m.Announcement) -> Said:
    """What an announcement says, in words."""
    study = announcement.study
    match announcement.round_kind:
        case m.RoundKind.TRAIN:
            return ROUND_OPEN(study=study.name, round=announcement.round, rounds=study.federation.rounds)
        case m.RoundKind.EVALUATE:
            return FINAL_MODEL_OPEN(study=study.name)
        case m.RoundKind.ENDED:
            return STUDY_ENDED(study=study.name, rounds=announcement.round - 1)
        case _:
            assert_never(announcement.round_kind)


def _evaluates(study: StudyState) -> bool:
    return study.announcement.round_kind is m.RoundKind.EVALUATE


def _same_round(new: m.Announcement, old: m.Announcement) -> bool:
    return (new.round, new.round_kind, new.model.blob, new.study) == (
        old.round,
        old.round_kind,
        old.model.blob,
        old.study,
    )


def seek_approval(state: AgentState, name: str, now: Instant) -> Outcome:
    """Join where root approved exactly this study and the trainer's key is known; else say what is waited for."""
    study = state.studies[name]
    if study.phase not in (Phase.UNAPPROVED, Phase.JOINING):
        return state, []
    approval = state.approvals.get(name)
    against = objection_to(state, study)
    if against is not None or approval is None:
        known = study.note == against
        if study.phase is Phase.JOINING:
            study = _restart(advance(study, Trigger.REVOKED, now))
        state = replace_study(state, msgspec.structs.replace(study, note=against))
        if against is None or known:
            return state, []
        waits = m.Progress(study=name, round=study.round, phase=study.phase.value)
        return state, [
            do.Tell(said=against, study=name, round=study.round, reason="approval"),
            do.Send(message=waits),  # for the people at the centre, who else hear of it with the next hello
        ]
    if study.phase is Phase.UNAPPROVED:
        study = advance(study, Trigger.APPROVED, now)
    return _join(state, msgspec.structs.replace(study, dataset=approval.dataset))


def objection_to(state: AgentState, study: StudyState) -> Said | None:
    """Why the study's round may not be trained here."""
    if state.observe:
        return OBSERVING()
    announced = study.announcement
    return objection(announced.study, announced.round, state.approvals.get(study.name), announced.round_kind)


def _join(state: AgentState, study: StudyState) -> Outcome:
    """Ask for the model's key, sealed to the trainer's key; without one a trainer has to come up first."""
    key = state.record.trainer_key
    if not key:
        return replace_study(state, msgspec.structs.replace(study, note=WAITS_FOR_TRAINER())), []
    if study.trainer_key == key:
        return replace_study(state, study), []
    join = m.Join(
        study=study.name,
        round=study.round,
        study_digest=study_digest(study.announcement.study),
        trainer_key=key,
    )
    study = msgspec.structs.replace(study, trainer_key=key, note=WAITS_FOR_KEY())
    return replace_study(state, study), [
        do.Strike(key=f"{study.name}/decline"),  # of a revoked approval that was given again
        do.Post(key=f"{study.name}/join", message=join),
    ]


def approvals_changed(state: AgentState, now: Instant) -> Outcome:
    """Join what was approved since; stop what was revoked."""
    done: list[do.Command] = []
    for name, study in state.studies.items():
        against = objection_to(state, study)
        if against is not None and study.phase in _MAY_BE_REVOKED:
            decline = _decline(name, study.round, m.Reason.REVOKED)
            state = replace_study(state, _restart(advance(study, Trigger.REVOKED, now, against)))
            done += [
                do.Strike(key=f"{name}/join"),
                do.StopJob(study=name, erase=True),
                do.Post(key=f"{name}/decline", message=decline),
                do.Tell(said=against, study=name, round=study.round, reason="revoked"),
            ]
        elif study.phase in (Phase.UNAPPROVED, Phase.JOINING):
            state, more = seek_approval(state, name, now)
            done += more
    return state, done


def _decline(name: str, number: int, reason: m.Reason) -> m.Decline:
    """What the aggregator gets: our words for the reason, and nobody else's."""
    return m.Decline(study=name, round=number, reason=reason, text=in_words(reason).text)


def _restart(study: StudyState) -> StudyState:
    return msgspec.structs.replace(study, trainer_key=b"", model_key=b"", deaths=0)


def trainer_key_known(state: AgentState, key: bytes, now: Instant) -> Outcome:
    """Join with the trainer's key; what was joined with another key (the trainer's state was lost) joins again."""
    if state.record.trainer_key != key:
        state = msgspec.structs.replace(state, record=msgspec.structs.replace(state.record, trainer_key=key))
    done: list[do.Command] = []
    for name, study in state.studies.items():
        if study.phase in _KEYED and study.trainer_key != key:
            state = replace_study(state, _restart(advance(study, Trigger.REVOKED, now)))
        state, more = seek_approval(state, name, now)
        done += more
    return state, done


def hear_key(state: AgentState, message: m.ModelKey, now: Instant) -> Outcome:
    """The model's key came: fetch the model."""
    study = _current(state, message.study, message.round, (Phase.JOINING,))
    if study is None or not study.trainer_key or message.blob != study.announcement.model.blob:
        return state, []
    study = advance(msgspec.structs.replace(study, model_key=message.secret), Trigger.KEY_CAME, now)
    fetch = do.Fetch(study=study.name, reference=study.announcement.model)
    return replace_study(state, study), [do.Strike(key=f"{study.name}/join"), fetch]


def model_fetched(state: AgentState, name: str, blob: bytes, now: Instant) -> Outcome:
    """The model is here: ready to train."""
    study = state.studies.get(name)
    if study is None or study.phase is not Phase.FETCHING or study.announcement.model.blob != blob:
        return state, []
    evaluates = _evaluates(study)
    said = FINAL_MODEL_HERE(study=name) if evaluates else MODEL_HERE(study=name, round=study.round)
    tell = do.Tell(said=said, study=name, round=study.round)
    return replace_study(state, advance(study, Trigger.MODEL_CAME, now)), [tell]


def update_spooled(
    state: AgentState, sealed: frames.JobSealed, offer: m.UpdateOffer, now: Instant
) -> Outcome:
    """The update is durable: offer it. One of another round is dropped."""
    study = _current(state, sealed.study, sealed.round, (Phase.TRAINING, Phase.READY))
    if study is None:
        return state, [drop_blobs(state)]
    study = msgspec.structs.replace(
        advance(study, Trigger.UPDATE_SPOOLED, now, WAITS_FOR_RECEIPT()),
        offer=offer,
        update=blob_digest(offer.manifest),
        rows=sealed.rows,
        metrics=sealed.metrics,
    )
    state = replace_study(state, study)
    return state, [
        do.Post(key=f"{study.name}/offer", message=offer),
        drop_blobs(state),
        do.Tell(said=_sealed(study, offer.manifest.size_bytes), study=study.name, round=study.round),
    ]


def _sealed(study: StudyState, size_bytes: int) -> Said:
    if _evaluates(study):
        return EVALUATION_SEALED(study=study.name, rows=study.rows)
    return UPDATE_SEALED(study=study.name, round=study.round, size_bytes=size_bytes, rows=study.rows)


def job_failed(
    state: AgentState, name: str, number: int, reason: m.Reason, said: Said, now: Instant
) -> Outcome:
    """The trainer will not or cannot do this round: decline it, once.

    Args:
        said: the trainer's words, for this site's journal and status; the aggregator gets ours.
    """
    study = _current(state, name, number, _MAY_BE_REVOKED)
    if study is None:
        return state, []
    told = ROUND_DECLINED(study=name, round=number, reason=said)
    state = replace_study(state, advance(study, Trigger.FAILED, now, said))
    return note_error(state, said, now, study=name), [
        do.Strike(key=f"{name}/join"),
        do.Post(key=f"{name}/decline", message=_decline(name, number, reason)),
        do.Tell(said=told, study=name, round=number, reason=reason.value),
    ]


def hear_grant(state: AgentState, message: m.Grant) -> Outcome:
    """The aggregator wants these chunks."""
    study = _current(state, message.study, message.round, (Phase.SPOOLED,))
    if study is None or message.blob != study.update:
        return state, []
    return state, [do.Grant(study=study.name, blob=message.blob, chunks=message.chunks)]


def hear_receipt(state: AgentState, message: m.Receipt, now: Instant) -> Outcome:
    """The aggregator has the update durably: it leaves the spool."""
    study = _current(state, message.study, message.round, (Phase.SPOOLED,))
    if study is None or message.blob != study.update:
        return state, []
    study = msgspec.structs.replace(
        advance(study, Trigger.RECEIPT_CAME, now, WAITS_FOR_ROUND()), offer=None, update=b""
    )
    state = replace_study(state, study)
    evaluation = EVALUATION_DELIVERED(study=study.name)
    said = evaluation if _evaluates(study) else UPDATE_DELIVERED(study=study.name, round=study.round)
    return state, [
        do.Strike(key=f"{study.name}/offer"),
        drop_blobs(state),
        do.Tell(said=said, study=study.name, round=study.round),
    ]


def hear_refusal(state: AgentState, message: m.Refusal | m.Cancel, now: Instant) -> Outcome:
    """The aggregator will not take this round's update: nothing of it stays."""
    name = message.study
    # Of what was delivered only the fold can say that it is no use; a closed round is no news about it.
    judged = (Phase.DELIVERED,) if message.reason in _JUDGED else ()
    study = _current(state, name, message.round, (*_MAY_BE_REVOKED, Phase.UNAPPROVED, Phase.SPOOLED, *judged))
    if study is None:
        answers = _current(state, name, message.round, (Phase.DECLINED,)) is not None
        return state, [do.Strike(key=f"{name}/decline")] if answers else []
    why = in_words(message.reason, message.text)
    study = msgspec.structs.replace(advance(study, Trigger.REFUSED, now, why), offer=None, update=b"")
    state = note_error(replace_study(state, study), why, now, study=name)
    return state, [
        *(do.Strike(key=f"{name}/{what}") for what in ("join", "offer", "decline")),
        drop_blobs(state),
        do.Tell(
            said=PART_ENDED(study=name, round=message.round, reason=why),
            study=name,
            round=message.round,
            reason=message.reason.value,
        ),
    ]


def positions(studies: Iterable[StudyState]) -> tuple[m.StudyPosition, ...]:
    """Where this site stands, for its hello."""
    return tuple(
        m.StudyPosition(study=each.name, round=each.round, phase=each.phase.value, update=each.update or None)
        for each in studies
    )


def drop_blobs(state: AgentState) -> do.DropBlobs:
    """Delete what no open study needs: a model once its update is sealed, an update once it is answered."""
    needed = {each.announcement.model.blob for each in state.studies.values() if each.phase in _NEEDS_MODEL}
    return do.DropBlobs(
        keep=frozenset(needed | {each.update for each in state.studies.values() if each.update})
    )


def _current(state: AgentState, name: str, number: int, phases: tuple[Phase, ...]) -> StudyState | None:
    """The study, where the message speaks of its current round and the phase is one of these."""
    study = state.studies.get(name)
    return study if study is not None and study.round == number and study.phase in phases else None
