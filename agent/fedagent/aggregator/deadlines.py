# SPDX-License-Identifier: Apache-2.0
"""The deadlines of the open rounds, when somebody sets the wall clock.

Rule: a deadline keeps its distance. It is kept in wall time, for people and over restarts, but neither comes early nor
late because a clock was set; and none is ever farther away than the study allows.
"""

import logging
from collections.abc import Callable
from typing import Final

import msgspec

from fedagent.aggregator.rounds import ACTIVE
from fedagent.aggregator.store import Store, StudyRecord, running
from fedagent.conditions.aggregator import CLOCK_WAS_SET
from fedagent.core.clock import jump_s, offset_s
from fedagent.core.facts import Instant
from fedagent.errors import NoSpaceError
from fedagent.journal import tell

_log: Final = logging.getLogger(__name__)


class Deadlines:
    """Compares the clocks whenever something happens."""

    def __init__(self, store: Store, announce: Callable[[StudyRecord], None]) -> None:
        """Changes nothing yet.

        Args:
            announce: says the study's round anew, its deadline with it.
        """
        self._store, self._announce = store, announce
        self._offset_s: float | None = None

    def mind(self, now: Instant) -> None:
        """Moves the deadlines along with a clock that was set; to be called before anything is decided at ``now``."""
        first, by_s = self._offset_s is None, jump_s(self._offset_s, now)
        if by_s or first:
            try:
                moved = self._move(by_s, now)
            except NoSpaceError:  # nothing else is decided durably, either; whoever tries that tells it
                return
            if by_s:
                tell(_log, CLOCK_WAS_SET(seconds=by_s))
            for record in moved:
                self._announce(record)
        self._offset_s = offset_s(now)

    def _move(self, by_s: float, now: Instant) -> list[StudyRecord]:
        """The studies whose deadline is another one now."""
        changed = []
        with self._store.database.transaction() as connection:
            for record in running(self._store.studies()):
                round_ = self._store.current_round(record.study.name)
                if round_ is None or round_.phase not in ACTIVE:
                    continue
                deadline_at = min(round_.deadline_at + by_s, now.wall + round_.deadline_s)
                if deadline_at != round_.deadline_at:
                    moved = msgspec.structs.replace(round_, deadline_at=deadline_at)
                    self._store.save_round(connection, moved, round_)
                    changed.append(record)
        return changed
