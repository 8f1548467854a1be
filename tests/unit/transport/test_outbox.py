# SPDX-License-Identifier: Apache-2.0
"""What is owed to a peer."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fedagent.errors import StorageError
from fedagent.storage.database import Database
from fedagent.storage.failpoints import Failpoint
from fedagent.transport.outbox import SCHEMA, Outbox
from fedagent.wire.messages import AggregatorHello, Receipt, SiteHello


@pytest.fixture
def database(state_folder: Path) -> Iterator[Database]:
    made = Database(
        state_folder / "state.db",
        SCHEMA,
        before_commit=Failpoint.SITE_BEFORE_COMMIT,
        after_commit=Failpoint.SITE_AFTER_COMMIT,
    )
    yield made
    made.close()


def test_owed_messages_stay_until_they_are_removed(database: Database) -> None:
    outbox = Outbox(database)
    receipt = Receipt(study="heart", round=1, blob=bytes(32))
    with database.transaction() as connection:
        outbox.put(connection, "a", receipt, "clinic-a")
        outbox.put(connection, "b", SiteHello(version="1", protocol=1))
        outbox.put(connection, "c", AggregatorHello(version="1", protocol=1), "clinic-b")
    assert Outbox(database).messages() == [
        ("a", receipt, "clinic-a"),
        ("b", SiteHello(version="1", protocol=1), None),
        ("c", AggregatorHello(version="1", protocol=1), "clinic-b"),
    ]
    with database.transaction() as connection:
        outbox.remove(connection, "a")
        outbox.remove(connection, "absent")
    assert [key for key, _, _ in outbox.messages()] == ["b", "c"]


def test_a_later_message_takes_the_place_of_an_earlier_one(database: Database) -> None:
    outbox = Outbox(database)
    for number in (1, 2):
        with database.transaction() as connection:
            outbox.put(connection, "a", Receipt(study="heart", round=number, blob=bytes(32)), "clinic-a")
    ((_, message, _),) = outbox.messages()
    assert message == Receipt(study="heart", round=2, blob=bytes(32))


def test_a_transaction_that_fails_owes_nothing(database: Database) -> None:
    outbox = Outbox(database)

    def fail() -> None:
        with database.transaction() as connection:
            outbox.put(connection, "a", SiteHello(version="1", protocol=1))
            raise ValueError("decided otherwise")

    with pytest.raises(ValueError, match="otherwise"):
        fail()
    assert outbox.messages() == []


def test_a_message_of_a_newer_version_is_told(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute("INSERT INTO outbox (key, kind, message) VALUES ('a', 'Later', x'80')")
    with pytest.raises(StorageError, match=r"'Later'.*; upgrade again"):
        Outbox(database).messages()
