# SPDX-License-Identifier: Apache-2.0
"""One process at a time writes the aggregator's state."""

import contextlib
import threading
from pathlib import Path

import pytest

from fedagent.aggregator.lock import locked
from fedagent.conditions.condition import Said
from fedagent.errors import UnavailableError

LIMIT_S = 20.0


def test_the_second_is_refused(state_folder: Path) -> None:
    with (
        locked(state_folder),
        pytest.raises(UnavailableError, match="another fedaggregator uses"),
        locked(state_folder),
    ):
        pytest.fail("both have it")


def test_who_waits_has_it_after_the_first(state_folder: Path) -> None:
    entered = threading.Event()

    def second() -> None:
        with locked(state_folder, within_s=LIMIT_S):
            entered.set()

    waiter = threading.Thread(target=second)
    with contextlib.ExitStack() as first:
        first.enter_context(locked(state_folder))
        waiter.start()
        assert not entered.is_set()
    assert entered.wait(LIMIT_S)
    waiter.join(LIMIT_S)


def test_an_error_of_its_owner_frees_it(state_folder: Path) -> None:
    with pytest.raises(UnavailableError, match="mine"), locked(state_folder):
        raise UnavailableError(Said("", "mine"))
    with locked(state_folder):
        pass
