# SPDX-License-Identifier: Apache-2.0
"""What a site is answered: after it was away, when it is wrong, and until it has understood."""

import asyncio
from collections.abc import Awaitable
from pathlib import Path

import pytest

from fedagent.aggregator import control, roster
from fedagent.aggregator.app import WAITING
from fedagent.aggregator.reports import study_status
from fedagent.aggregator.tables import PartPhase, StudyPhase
from fedagent.wire import messages as m
from fedagent.wire.study import study_digest
from tests.fakes.site import FakeSite
from tests.fakes.study_centre import Centre, study


@pytest.fixture
def centre(tmp_path: Path) -> Centre:
    return Centre(tmp_path)


def play(script: Awaitable[None]) -> None:
    async def main() -> None:
        await script

    asyncio.run(main())


def heard(site: FakeSite, kind: type[m.Message]) -> list[m.Message]:
    return [message for message in site.heard if isinstance(message, kind)]


def position(update: bytes | None, number: int = 1) -> m.SiteHello:
    where = m.StudyPosition(study="transfer", round=number, phase="training", update=update)
    return m.SiteHello(version="0.1.0", protocol=1, positions=(where,))


async def answered(centre: Centre, site: FakeSite, hello: m.SiteHello) -> None:
    """The hello is answered, and with it all that the site said before: messages are taken in order."""
    before = len(heard(site, m.AggregatorHello))
    site.say(hello)
    await centre.link.until(lambda: len(heard(site, m.AggregatorHello)) > before)


def test_a_receipt_is_repeated_until_the_sites_hello_shows_that_it_came(centre: Centre) -> None:
    site = centre.sites["clinic-a"]
    centre.sites["clinic-c"].offers = False

    async def script() -> None:
        async with centre.running():
            await centre.begin(study(quorum=3))
            await centre.until_part("clinic-a", PartPhase.STORED)
            receipt = heard(site, m.Receipt)[0]
            assert isinstance(receipt, m.Receipt)
            for update, more in ((receipt.blob, True), (None, False), (None, False)):
                before = len(heard(site, m.Receipt))
                await answered(centre, site, position(update))
                assert (len(heard(site, m.Receipt)) > before) is more

    play(script())


def test_a_site_that_was_away_for_rounds_hears_where_the_study_is(centre: Centre) -> None:
    away = centre.sites["clinic-c"]
    away.decline = m.Reason.NO_DATASET

    async def script() -> None:
        async with centre.running():
            await centre.begin(study(rounds=2))
            await centre.until_phase(StudyPhase.ENDED)
            away.announcement = None
            away.say(position(bytes(32)))
            await centre.link.until(lambda: away.announcement is not None)
            await centre.link.until(lambda: bool(heard(away, m.Refusal)))

    play(script())
    assert away.announcement is not None
    assert away.announcement.round_kind is m.RoundKind.ENDED
    (refusal,) = {message.reason for message in heard(away, m.Refusal) if isinstance(message, m.Refusal)}
    assert refusal is m.Reason.ROUND_CLOSED


def test_a_site_is_told_of_a_study_that_it_does_not_know_and_of_no_end_that_it_knows(centre: Centre) -> None:
    site = centre.sites["clinic-a"]
    nothing = m.SiteHello(version="0.1.0", protocol=1)

    async def script() -> None:
        async with centre.running():
            site.offers = False
            await centre.begin(study(rounds=1, quorum=3))
            await centre.until_part("clinic-a", PartPhase.JOINED)
            for hello, more in ((nothing, 1), (position(None), 0)):
                before = len(heard(site, m.Announcement))
                await answered(centre, site, hello)
                await answered(centre, site, position(None))  # all that the first hello led to was said
                assert len(heard(site, m.Announcement)) - before == more
            await centre.ask(control.StopStudy(name="transfer", text="enough"))
            for number, more in ((1, 1), (2, 0)):
                before = len(heard(site, m.Announcement))
                await answered(centre, site, position(None, number))
                await answered(centre, site, position(None, 2))
                assert len(heard(site, m.Announcement)) - before == more

    play(script())


def test_a_site_that_approved_another_version_is_told_so(centre: Centre) -> None:
    site = centre.sites["clinic-a"]
    site.offers = False

    async def script() -> None:
        async with centre.running():
            await centre.begin(study())
            await centre.until_part("clinic-a", PartPhase.JOINED)
            join = m.Join(study="transfer", round=1, study_digest=bytes(32), trainer_key=b"\x09" + bytes(31))
            site.say(join)
            await centre.link.until(lambda: bool(heard(site, m.Refusal)))

    play(script())
    (refusal,) = heard(site, m.Refusal)
    assert isinstance(refusal, m.Refusal)
    assert refusal.reason is m.Reason.OTHER_STUDY


def test_a_key_that_is_no_key_changes_nothing(centre: Centre, caplog: pytest.LogCaptureFixture) -> None:
    site = centre.sites["clinic-a"]
    site.offers = False

    async def script() -> None:
        async with centre.running():
            await centre.begin(study())
            await centre.until_part("clinic-a", PartPhase.JOINED)
            assert site.announcement is not None
            digest = study_digest(site.announcement.study)
            site.say(m.Join(study="transfer", round=1, study_digest=digest, trainer_key=bytes(32)))
            await answered(centre, site, position(None))

    play(script())
    assert "no X25519 key" in caplog.text
    store = centre.store()
    noted = {each.name: each.error_text for each in roster.records(store.database.connection)}
    store.close()
    assert "no X25519 key" in noted["clinic-a"]


def test_only_members_get_a_model_and_only_chunks_that_exist(
    centre: Centre, caplog: pytest.LogCaptureFixture
) -> None:
    stranger, site = centre.site("stranger"), centre.sites["clinic-a"]
    site.offers = False

    async def script() -> None:
        async with centre.running():
            await centre.begin(study())
            await centre.until_part("clinic-a", PartPhase.JOINED)
            assert site.announcement is not None
            stranger.link = centre.link
            blob = site.announcement.model.blob
            stranger.say(m.Want(study="transfer", blob=blob))
            site.say(m.Want(study="transfer", blob=blob, chunks=(99,)))
            await answered(centre, site, position(None))

    play(script())
    assert "does not name site stranger" in caplog.text
    assert "does not have that many chunks" in caplog.text


def test_progress_and_presence_are_shown_to_people(centre: Centre) -> None:
    site = centre.sites["clinic-a"]
    site.offers = False

    async def script() -> None:
        async with centre.running():
            await centre.begin(study())
            await centre.until_part("clinic-a", PartPhase.JOINED)
            site.say(m.Progress(study="transfer", round=1, phase="training", step=3, steps=9))
            site.say(
                m.Presence(
                    online=True, version="0.1.0", protocol=1, verdict="no", reason="someone is logged in"
                )
            )
            await answered(centre, site, position(None))

    play(script())
    store = centre.store()
    progress, sites = (
        store.progress("transfer", 1),
        {each.name: each for each in roster.records(store.database.connection)},
    )
    store.close()
    assert progress["clinic-a"] == "training 3/9"
    assert (sites["clinic-a"].verdict, sites["clinic-a"].reason) == ("no", "someone is logged in")


def test_why_a_site_does_not_join_is_shown_to_people(centre: Centre) -> None:
    site = centre.sites.pop("clinic-a")
    centre.sites["clinic-b"].offers = False
    waiting = m.StudyPosition(study="transfer", round=1, phase="waiting for approval")

    async def script() -> None:
        async with centre.running():
            await centre.begin(study())
            await centre.until_part("clinic-b", PartPhase.JOINED)
            site.link = centre.link
            site.say(m.SiteHello(version="0.1.0", protocol=1, positions=(waiting,)))
            store = centre.store()
            await centre.link.until(lambda: store.progress("transfer", 1)["clinic-a"] != "")
            (part, *_) = study_status(store, store.study("transfer"), 0.0).parts
            store.close()
            assert (part.site, part.text) == ("clinic-a", "waiting for approval")
            assert part.waits_for == "the site's administrator to approve the study"
            looked = await asyncio.to_thread(control.look, centre.settings.control_socket)
            assert (looked.connected, looked.reason) == (True, "")

    play(script())


def test_a_message_about_a_round_that_does_not_exist_is_answered_with_the_one_that_does(
    centre: Centre,
) -> None:
    site = centre.sites["clinic-a"]
    site.offers = False

    async def script() -> None:
        async with centre.running():
            await centre.begin(study())
            await centre.until_part("clinic-a", PartPhase.JOINED)
            before = len(heard(site, m.Announcement))
            site.say(m.Decline(study="transfer", round=9, reason=m.Reason.CRASHED))
            await centre.link.until(lambda: len(heard(site, m.Announcement)) > before)

    play(script())
    store = centre.store()
    round_ = store.current_round("transfer")
    store.close()
    assert round_ is not None
    assert round_.number == 1


def test_what_does_not_fit_into_the_inbox_is_not_acknowledged_but_asked_for_again(centre: Centre) -> None:
    async def script() -> None:
        async with centre.running():
            await answered(centre, centre.sites["clinic-a"], position(None))
            link = centre.link
            before = len(link.acknowledged)
            for _ in range(WAITING + 3):
                link.up("fedagent/v1/up/clinic-a/transfer/progress", b"flood")
            last = link._sent
            await link.until(lambda: len(link.acknowledged) == before + WAITING)
            assert link.acknowledged[-1] == last - 3
            assert len(link.renewals) == 3
            await answered(centre, centre.sites["clinic-a"], position(None))
            assert len(link.renewals) == 3

    play(script())


def test_an_instance_that_came_while_another_lived_is_told_to_stop(
    centre: Centre, caplog: pytest.LogCaptureFixture
) -> None:
    site = centre.sites["clinic-a"]
    first, second = (m.Instance(instance=bytes([number]) * 32) for number in (1, 2))
    twin = m.Twin(instance=second.instance)

    async def script() -> None:
        async with centre.running():
            for word, twins in ((first, []), (second, []), (first, [twin]), (second, [twin] * 2)):
                site.say(word)
                await answered(centre, site, m.SiteHello(version="0.1.0", protocol=1))
                assert heard(site, m.Twin) == twins

    play(script())
    assert caplog.text.count("two machines use the identity of site clinic-a") == 2
    store = centre.store()
    noted = {each.name: each.error_code for each in roster.records(store.database.connection)}
    store.close()
    assert noted["clinic-a"] == "FA8901"
