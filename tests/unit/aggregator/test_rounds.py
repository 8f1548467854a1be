# SPDX-License-Identifier: Apache-2.0
"""One round: when it closes, whom it waits for, what it answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedagent.aggregator import round_events as on
from fedagent.aggregator.rounds import Part, Round, open_round, part_of, sites_in, step
from fedagent.aggregator.tables import PartPhase, RoundPhase
from fedagent.conditions.condition import Said
from fedagent.errors import TransitionError
from fedagent.wire.messages import Reason, RoundKind
from tests.fakes.examples import STUDY

A, B, C = "clinic-a", "clinic-b", "clinic-c"
KEY = bytes(32)
BLOBS = {A: b"a" * 32, B: b"b" * 32, C: b"c" * 32}
NOW = 1000.0


def opened() -> Round:
    return open_round(STUDY, 1, RoundKind.TRAIN, NOW)


def play(round_: Round, *events: on.Event, now: float = NOW) -> tuple[Round, list[on.Command]]:
    """The round after these events, and the commands of the last."""
    commands: tuple[on.Command, ...] = ()
    for event in events:
        round_, commands = step(round_, event, now)
    return round_, list(commands)


def stored(*sites: str) -> list[on.Event]:
    return [
        event
        for site in sites
        for event in (on.Joined(site, KEY), on.Offered(site, BLOBS[site]), on.Stored(site, BLOBS[site]))
    ]


def test_a_new_round_invites_every_site_in_the_order_of_their_names() -> None:
    assert sites_in(opened(), PartPhase.INVITED) == (A, B, C)
    assert opened().deadline_at == NOW + STUDY.federation.deadline_s


def test_a_site_that_joins_gets_the_models_key_each_time_it_asks() -> None:
    round_, commands = play(opened(), on.Joined(A, KEY), on.Joined(A, b"\x01" * 32))
    assert commands == [on.SendKey(A)]
    assert part_of(round_, A) == Part(site=A, since=NOW, phase=PartPhase.JOINED, trainer_key=b"\x01" * 32)


def test_an_offer_is_collected_also_without_a_join_and_when_repeated() -> None:
    round_, commands = play(opened(), on.Offered(A, BLOBS[A]), on.Offered(A, BLOBS[A]))
    assert commands == [on.Collect(A)]
    assert sites_in(round_, PartPhase.OFFERED) == (A,)


def test_another_offer_takes_the_place_of_one_that_is_on_its_way() -> None:
    _, commands = play(opened(), on.Offered(A, BLOBS[A]), on.Offered(A, BLOBS[B]))
    assert commands == [on.Forget(A, BLOBS[A]), on.Collect(A)]


def test_a_stored_update_is_acknowledged_each_time_and_never_replaced() -> None:
    round_, commands = play(opened(), *stored(A), on.Offered(A, BLOBS[A]))
    assert commands == [on.SendReceipt(A, BLOBS[A])]
    after, commands = play(round_, on.Offered(A, BLOBS[B]))
    assert [type(command) for command in commands] == [on.SendRefusal]
    assert commands[0] == on.SendRefusal(A, Reason.ALREADY_COUNTED, commands[0].text)  # type: ignore[union-attr]
    assert after == round_


def test_a_part_and_a_round_know_since_when_they_are_where_they_are() -> None:
    round_, _ = play(opened(), on.Joined(A, KEY), now=NOW + 1)
    round_, _ = play(round_, on.Joined(A, KEY), on.Declined(C, Reason.NO_DATASET, ""), now=NOW + 2)
    assert [part.since for part in round_.parts] == [NOW + 1, NOW, NOW + 2]
    assert round_.since == NOW
    round_, _ = play(round_, *stored(A, B), now=NOW + 3)
    assert (round_.phase, round_.since) == (RoundPhase.CLOSING, NOW + 3)


def test_an_extended_round_is_open_since_it_was_opened() -> None:
    late = opened().deadline_at
    assert play(opened(), on.Ticked(), now=late)[0].since == NOW


def test_the_round_closes_when_every_site_has_stored() -> None:
    round_, commands = play(opened(), *stored(A, B, C))
    assert round_.phase is RoundPhase.CLOSING
    assert commands == [on.SendReceipt(C, BLOBS[C]), on.Fold((A, B, C))]


def test_the_round_does_not_wait_for_a_site_that_declined() -> None:
    declined = on.Declined(C, Reason.NO_DATASET, "no dataset")
    round_, commands = play(opened(), *stored(A, B), declined)
    assert round_.phase is RoundPhase.CLOSING
    assert commands == [on.Fold((A, B))]


def test_the_round_stays_open_below_quorum_although_all_others_declined() -> None:
    declined = [on.Declined(site, Reason.REVOKED, "") for site in (B, C)]
    assert play(opened(), *stored(A), *declined)[0].phase is RoundPhase.OPEN


def test_a_site_that_declined_may_join_after_all() -> None:
    round_, _ = play(opened(), on.Declined(A, Reason.NO_DATASET, "none"), on.Joined(A, KEY))
    assert part_of(round_, A) == Part(site=A, since=NOW, phase=PartPhase.JOINED, trainer_key=KEY)


def test_what_was_offered_is_forgotten_when_the_site_declines() -> None:
    _, commands = play(opened(), on.Offered(A, BLOBS[A]), on.Declined(A, Reason.REVOKED, ""))
    assert commands == [on.Forget(A, BLOBS[A])]


def test_a_decline_after_the_receipt_changes_nothing() -> None:
    before, _ = play(opened(), *stored(A))
    assert play(before, on.Declined(A, Reason.REVOKED, "")) == (before, [])


def test_at_its_deadline_the_round_closes_with_the_quorum() -> None:
    round_, _ = play(opened(), *stored(A, B))
    assert round_.phase is RoundPhase.OPEN
    after, commands = play(round_, on.Ticked(), now=round_.deadline_at)
    assert after.phase is RoundPhase.CLOSING
    assert commands == [on.Fold((A, B))]


def test_at_its_deadline_below_quorum_the_round_is_extended_and_says_why() -> None:
    round_, _ = play(opened(), *stored(A), on.Declined(B, Reason.NO_DATASET, ""))
    late = round_.deadline_at + 5
    after, commands = play(round_, on.Ticked(), now=late)
    assert after.phase is RoundPhase.OPEN
    assert (after.deadline_at, after.extensions) == (late + STUDY.federation.deadline_s, 1)
    assert "1 of 2 needed updates" in str(after.reason)
    assert "waiting for clinic-c;" in str(after.reason)
    assert "clinic-b (declined: no-dataset)" in str(after.reason)
    assert commands == [on.Announce()]


def test_nothing_happens_before_the_deadline() -> None:
    assert play(opened(), on.Ticked(), now=NOW + 1) == (opened(), [])


def test_whoever_is_no_member_is_refused_and_changes_nothing() -> None:
    for event in (
        on.Joined("x-ray", KEY),
        on.Offered("x-ray", BLOBS[A]),
        on.Declined("x-ray", Reason.CRASHED, ""),
    ):
        after, commands = play(opened(), event)
        assert after == opened()
        assert [(type(each), each.reason) for each in commands] == [(on.SendRefusal, Reason.NOT_A_MEMBER)]  # type: ignore[union-attr]


def closed() -> Round:
    round_, _ = play(opened(), *stored(A, B), on.Offered(C, BLOBS[C]))
    return play(round_, on.Ticked(), on.Folded((A, B)), now=round_.deadline_at)[0]


def test_when_the_round_has_closed_updates_are_forgotten_and_the_late_site_is_refused() -> None:
    round_, _ = play(opened(), *stored(A, B), on.Offered(C, BLOBS[C]))
    after, commands = play(round_, on.Ticked(), on.Folded((A, B)), now=round_.deadline_at)
    assert after.phase is RoundPhase.CLOSED
    assert (sites_in(after, PartPhase.FOLDED), sites_in(after, PartPhase.LATE)) == ((A, B), (C,))
    assert {command.blob for command in commands if isinstance(command, on.Forget)} == set(BLOBS.values())
    assert [command.site for command in commands if isinstance(command, on.SendRefusal)] == [C]


def test_after_the_end_a_folded_site_hears_its_receipt_again_and_a_late_one_its_refusal() -> None:
    assert play(closed(), on.Offered(A, BLOBS[A]))[1] == [on.SendReceipt(A, BLOBS[A])]
    for event in (on.Offered(C, BLOBS[C]), on.Offered(A, BLOBS[C]), on.Joined(C, KEY)):
        after, commands = play(closed(), event)
        assert after == closed()
        assert [each.reason for each in commands] == [Reason.ROUND_CLOSED]  # type: ignore[union-attr]
    assert play(closed(), on.Declined(C, Reason.CRASHED, ""))[1] == []


def test_an_update_that_cannot_be_used_is_left_out_and_the_others_fold() -> None:
    round_, _ = play(opened(), *stored(A, B, C))
    after, commands = play(round_, on.Rejected(B, Reason.UNREADABLE, "does not decrypt"))
    assert after.phase is RoundPhase.CLOSING
    assert commands == [
        on.Forget(B, BLOBS[B]),
        on.SendRefusal(B, Reason.UNREADABLE, "does not decrypt"),
        on.Fold((A, C)),
    ]


def test_the_round_opens_again_when_unusable_updates_leave_it_below_quorum() -> None:
    round_, _ = play(opened(), *stored(A, B), on.Declined(C, Reason.CRASHED, ""))
    after, commands = play(round_, on.Rejected(B, Reason.NOT_FINITE, "NaN"))
    assert after.phase is RoundPhase.OPEN
    assert "clinic-b" in str(after.reason)
    assert not any(isinstance(command, on.Fold) for command in commands)


def test_a_refused_site_stays_refused_for_the_round() -> None:
    round_, _ = play(opened(), on.Rejected(A, Reason.UNREADABLE, "no"))
    for event in (on.Joined(A, KEY), on.Offered(A, BLOBS[A])):
        assert play(round_, event) == (round_, [on.SendRefusal(A, Reason.UNREADABLE, "no")])


def test_a_bad_offer_while_the_round_folds_does_not_fold_again() -> None:
    round_, _ = play(opened(), *stored(A, B))
    round_, _ = play(round_, on.Ticked(), now=round_.deadline_at)
    _, commands = play(round_, on.Rejected(C, Reason.UNREADABLE, "no"), now=round_.deadline_at)
    assert commands == [on.SendRefusal(C, Reason.UNREADABLE, "no")]


def test_a_stopped_round_tells_everybody_and_keeps_nothing() -> None:
    round_, _ = play(opened(), *stored(A), on.Declined(B, Reason.CRASHED, ""))
    after, commands = play(round_, on.Stopped(Said("FA8612", "ethics vote withdrawn")))
    assert (after.phase, after.reason) == (RoundPhase.FAILED, Said("FA8612", "ethics vote withdrawn"))
    assert commands == [
        on.Forget(A, BLOBS[A]),
        on.SendCancel(A, "ethics vote withdrawn"),
        on.SendCancel(C, "ethics vote withdrawn"),
    ]


@pytest.mark.parametrize(
    "event",
    [
        on.Stored(A, BLOBS[A]),
        on.Folded((A, B)),
        on.Stored("x-ray", BLOBS[A]),
        on.Rejected("x-ray", Reason.UNREADABLE, ""),
    ],
)
def test_what_only_we_can_cause_and_cannot_be_is_an_error(event: on.Event) -> None:
    with pytest.raises(TransitionError):
        step(opened(), event, NOW)


def test_a_round_is_never_folded_below_its_quorum() -> None:
    round_, _ = play(opened(), *stored(A, B, C))
    with pytest.raises(TransitionError, match="quorum"):
        step(round_, on.Folded((A,)), NOW)


def test_another_blob_than_the_offered_one_is_not_stored() -> None:
    round_, _ = play(opened(), on.Offered(A, BLOBS[A]))
    with pytest.raises(TransitionError, match="does not wait"):
        step(round_, on.Stored(A, BLOBS[B]), NOW)


# --- properties -----------------------------------------------------------------------------------------------------

SITES = st.sampled_from([A, B, C, "x-ray"])
FROM_SITES = st.one_of(
    st.builds(on.Joined, SITES, st.just(KEY)),
    st.builds(on.Offered, SITES, st.sampled_from([*BLOBS.values(), b"d" * 32])),
    st.builds(on.Declined, SITES, st.sampled_from(Reason), st.just("")),
)
WHAT = st.one_of(FROM_SITES, st.sampled_from(["store", "reject", "fold", "tick"]))


@given(st.lists(st.tuples(WHAT, st.floats(0.0, 200_000.0)), max_size=40))
def test_no_sequence_closes_a_round_below_quorum_or_counts_a_site_twice(
    script: list[tuple[on.Event | str, float]],
) -> None:
    round_, now, counted = opened(), NOW, list[str]()
    folding: tuple[str, ...] = ()
    for what, seconds in script:
        now += seconds
        event = _internal(round_, what, folding) if isinstance(what, str) else what
        if event is None:
            continue
        before = round_
        round_, commands = step(round_, event, now)
        folds = [command for command in commands if isinstance(command, on.Fold)]
        for fold in folds:
            assert len(fold.sites) >= round_.quorum
            folding = fold.sites
        if isinstance(event, on.Folded):
            counted += list(event.sites)
        if before.phase in (RoundPhase.CLOSED, RoundPhase.FAILED):
            assert round_ == before
        assert (round_.phase is RoundPhase.CLOSED) == bool(counted)
    assert len(counted) == len(set(counted))
    assert not counted or len(counted) >= STUDY.federation.quorum


@given(st.lists(FROM_SITES, max_size=12))
def test_a_repeated_message_changes_nothing_more(events: list[on.Event]) -> None:
    once = opened()
    for event in events:
        once, _ = step(once, event, NOW)
        twice, _ = step(once, event, NOW)
        assert twice == once


def _internal(round_: Round, what: str, folding: tuple[str, ...]) -> on.Event | None:
    """An event of ours that is possible now."""
    offered = sites_in(round_, PartPhase.OFFERED)
    if what == "tick":
        return on.Ticked()
    if round_.phase not in (RoundPhase.OPEN, RoundPhase.CLOSING):
        return None
    if what == "store" and offered:
        part = part_of(round_, offered[0])
        assert part is not None
        assert part.blob is not None
        return on.Stored(part.site, part.blob)
    if what == "reject" and (offered or (round_.phase is RoundPhase.CLOSING and folding)):
        return on.Rejected(offered[0] if offered else folding[0], Reason.UNREADABLE, "")
    if what == "fold" and round_.phase is RoundPhase.CLOSING:
        return on.Folded(folding)
    return None
