# SPDX-License-Identifier: Apache-2.0
"""Numbers that rise, and letters that count once."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fedagent.errors import WireError
from fedagent.storage.database import Database
from fedagent.storage.failpoints import Failpoint
from fedagent.transport.mailbox import SCHEMA, Mailbox
from fedagent.wire.messages import Announcement, Message, Presence, Receipt, SiteHello
from fedagent.wire.topics import aggregator_topic, round_topic, site_topic
from tests.fakes import examples
from tests.fakes.certificates import NOW, FakeAuthority

Make = Callable[[str], Mailbox]


@pytest.fixture
def databases(state_folder: Path) -> Iterator[Callable[[str], Database]]:
    opened: list[Database] = []

    def open_one(name: str) -> Database:
        opened.append(
            Database(
                state_folder / f"{name}.db",
                SCHEMA,
                before_commit=Failpoint.SITE_BEFORE_COMMIT,
                after_commit=Failpoint.SITE_AFTER_COMMIT,
            )
        )
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


@pytest.fixture
def make(databases: Callable[[str], Database]) -> Make:
    """A mailbox by name; the same name again is the same party after a restart."""
    authority = FakeAuthority()
    signers = {"aggregator": authority.aggregator()}

    def mailbox(name: str) -> Mailbox:
        if name not in signers:
            signers[name] = authority.site(name)
        return Mailbox(databases(name), signers[name], authority.trust)

    return mailbox


(ANNOUNCEMENT,) = (each for each in examples.AGGREGATOR_MESSAGES if isinstance(each, Announcement))
HELLO = SiteHello(version="1", protocol=1)
RECEIPT = Receipt(study="heart", round=1, blob=bytes(32))


def sequence(reader: Mailbox, letter: tuple[str, bytes]) -> int:
    mail = reader.open(*letter, NOW)
    assert mail
    return mail.sequence


def test_each_side_speaks_on_its_own_topics(make: Make) -> None:
    site, aggregator = make("clinic-a"), make("aggregator")
    said = [
        site.seal(HELLO),
        aggregator.seal(RECEIPT, site="clinic-a"),
        aggregator.seal(ANNOUNCEMENT),
    ]
    assert [topic for topic, _ in said] == [
        site_topic("clinic-a", "hello"),
        aggregator_topic("clinic-a", "receipt", "heart"),
        round_topic(ANNOUNCEMENT.study.name),
    ]
    heard = [aggregator.open(*said[0], NOW), site.open(*said[1], NOW), site.open(*said[2], NOW)]
    assert [mail.message for mail in heard if mail] == [HELLO, RECEIPT, ANNOUNCEMENT]


def test_a_letter_to_a_site_must_say_which(make: Make) -> None:
    with pytest.raises(TypeError, match="say which"):
        make("aggregator").seal(RECEIPT)


def test_a_repeat_counts_once_and_an_older_letter_not_at_all(make: Make) -> None:
    site, aggregator = make("clinic-a"), make("aggregator")
    first, second = site.seal(HELLO), site.seal(HELLO)
    assert aggregator.open(*second, NOW)
    assert aggregator.open(*second, NOW) is None
    assert aggregator.open(*first, NOW) is None
    assert aggregator.open(*site.seal(HELLO), NOW)


def test_a_wrong_letter_is_refused(make: Make) -> None:
    topic, payload = make("clinic-a").seal(HELLO)
    with pytest.raises(WireError):
        make("aggregator").open(topic, payload[:-1], NOW)


def test_what_was_remembered_is_a_repeat_after_a_restart_too(
    make: Make, databases: Callable[[str], Database]
) -> None:
    site, aggregator = make("clinic-a"), make("aggregator")
    letters = [site.seal(HELLO), site.seal(Presence(online=True, version="1", protocol=1))]
    letters += [aggregator.seal(RECEIPT, site="clinic-a"), aggregator.seal(ANNOUNCEMENT)]
    readers = {"aggregator": letters[:2], "clinic-a": letters[2:]}
    for name, received in readers.items():
        database = databases(name)
        for letter in received:
            reader = make(name)
            mail = reader.open(*letter, NOW)
            assert mail
            with database.transaction() as connection:
                reader.remember(connection, mail)
        again = make(name)
        assert [again.open(*letter, NOW) for letter in received] == [None, None]


def test_what_was_not_remembered_is_new_after_a_restart(make: Make) -> None:
    letter = make("clinic-a").seal(HELLO)
    assert make("aggregator").open(*letter, NOW)
    assert make("aggregator").open(*letter, NOW)


def test_numbers_rise_through_restarts_and_a_lost_database(make: Make, state_folder: Path) -> None:
    aggregator = make("aggregator")
    site = make("clinic-a")
    numbers = [sequence(aggregator, site.seal(HELLO)) for _ in range(3)]
    numbers.append(sequence(aggregator, make("clinic-a").seal(HELLO)))
    for file in state_folder.glob("clinic-a.db*"):
        file.unlink()
    numbers.append(sequence(aggregator, make("clinic-a").seal(HELLO)))
    assert numbers == sorted(set(numbers))


def test_numbers_do_not_go_back_with_the_clock(make: Make, databases: Callable[[str], Database]) -> None:
    with databases("clinic-a").transaction() as connection:
        connection.execute("INSERT INTO sequence VALUES (1, ?)", (1 << 60,))
    assert sequence(make("aggregator"), make("clinic-a").seal(HELLO)) == 1 << 60


def test_every_number_is_reserved_before_it_is_used(make: Make, databases: Callable[[str], Database]) -> None:
    site, aggregator, database = make("clinic-a"), make("aggregator"), databases("clinic-a")
    messages: list[Message] = [HELLO] * 2100
    messages[700] = Presence(online=False, version="1", protocol=1)
    for message in messages:
        number = sequence(aggregator, site.seal(message))
        assert number < database.connection.execute("SELECT next FROM sequence").fetchone()[0]


def test_numbers_can_be_taken_inside_a_transaction(make: Make, databases: Callable[[str], Database]) -> None:
    site = make("clinic-a")
    with site._database.transaction():
        letter = site.seal(HELLO)
    stored = databases("clinic-a").connection.execute("SELECT next FROM sequence").fetchone()[0]
    assert sequence(make("aggregator"), letter) < stored


def test_a_will_counts_after_all_that_was_said_on_its_connection_and_before_the_next(make: Make) -> None:
    site, aggregator = make("clinic-a"), make("aggregator")
    online = Presence(online=True, version="1", protocol=1)
    offline = Presence(online=False, version="1", protocol=1)
    first_will = site.seal(offline)
    said = [site.seal(online) for _ in range(3)]
    assert all(aggregator.open(*letter, NOW) for letter in said)
    assert aggregator.open(*first_will, NOW)
    second_will = site.seal(offline)
    assert aggregator.open(*site.seal(online), NOW)
    assert aggregator.open(*first_will, NOW) is None
    assert aggregator.open(*second_will, NOW)


def test_a_machine_is_heard_again_on_its_next_connection_when_a_clone_of_it_spoke(make: Make) -> None:
    original, aggregator = make("clinic-a"), make("aggregator")
    online = Presence(online=True, version="1", protocol=1)
    clone = make("clinic-a")
    assert aggregator.open(*clone.seal(online), NOW)
    assert aggregator.open(*original.seal(online), NOW) is None
    spoke_at = time.time_ns() // 1_000_000
    while time.time_ns() // 1_000_000 == spoke_at:
        pass
    original.seal(Presence(online=False, version="1", protocol=1))  # the will of the next connection
    assert aggregator.open(*original.seal(online), NOW)


def test_a_letter_whose_effects_could_not_be_stored_is_taken_when_it_comes_again(make: Make) -> None:
    site, aggregator = make("north"), make("aggregator")
    letter = site.seal(HELLO)
    mail = aggregator.open(*letter, NOW)
    assert mail is not None
    aggregator.forget(mail)
    assert aggregator.open(*letter, NOW) == mail
    assert aggregator.open(*letter, NOW) is None
