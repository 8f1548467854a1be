# SPDX-License-Identifier: Apache-2.0
"""Which models go when all of them take too much room."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fedagent.aggregator.eviction import stay_in_budget
from fedagent.aggregator.models import Models
from fedagent.aggregator.store import Store
from fedagent.storage.blobs import BlobFolder
from tests.fakes.study_centre import study

SIZE = 1000


class Shelf:
    """Two studies with a model of each number, made in turn; the files hold their name."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder / "store.sqlite")
        self.models = Models(folder / "models", BlobFolder(folder / "blobs"))
        self.digests: dict[tuple[str, int], bytes] = {}
        for name in ("heart", "lung"):
            with self.store.database.transaction() as connection:
                self.store.add_study(connection, study(name=name), 0.0)
        for number in range(3):
            for place, name in enumerate(("heart", "lung")):
                self.add(name, number, made_at=10.0 * number + place)

    def add(self, name: str, number: int, *, made_at: float) -> None:
        plaintext = self.models.write("draft", [f"{name} {number}".encode().ljust(SIZE)])
        self.digests[name, number] = plaintext
        record = self.models.publish(plaintext, 65_536).record(name, number, made_at)
        with self.store.database.transaction() as connection:
            self.store.add_model(connection, record)

    def left(self) -> list[tuple[str, int]]:
        return [key for key, digest in self.digests.items() if self.models.has(digest)]


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    made = Shelf(tmp_path)
    yield made
    made.store.close()


def test_within_the_budget_every_model_stays(shelf: Shelf) -> None:
    stay_in_budget(shelf.store, shelf.models, 6 * SIZE)
    assert len(shelf.left()) == 6


def test_above_it_the_oldest_go_first_and_each_is_said(
    shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    stay_in_budget(shelf.store, shelf.models, 4 * SIZE - 1)
    assert shelf.left() == [("lung", 1), ("heart", 2), ("lung", 2)]
    assert [line.split(" (")[0] for line in caplog.messages] == [
        "study heart: the file of the model after round 0",
        "study lung: the file of the model after round 0",
        "study heart: the file of the model after round 1",
    ]


def test_a_study_s_newest_model_never_goes(shelf: Shelf) -> None:
    stay_in_budget(shelf.store, shelf.models, 0)
    assert shelf.left() == [("heart", 2), ("lung", 2)]
    stay_in_budget(shelf.store, shelf.models, 0)
    assert len(shelf.left()) == 2


def test_a_study_s_best_model_never_goes(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedagent.aggregator.eviction.best_model", lambda _results, _metric: 1)
    stay_in_budget(shelf.store, shelf.models, 0)
    assert shelf.left() == [("heart", 1), ("lung", 1), ("heart", 2), ("lung", 2)]


def test_what_a_model_was_is_known_without_its_file(shelf: Shelf) -> None:
    stay_in_budget(shelf.store, shelf.models, 0)
    assert [model.number for model in shelf.store.models("heart")] == [0, 1, 2]
