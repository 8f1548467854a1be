# SPDX-License-Identifier: Apache-2.0
"""The demo's progress: a table that redraws itself on a terminal, a line a round in a pipe.

Rule: it only looks; what it shows is each daemon's own status.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.table import Table

from fedagent.core.round import Phase
from fedagent.demo.hospital import Hospital
from fedagent.site.status import SiteStatus, StudyView

ENDED: Final = Phase.ENDED.value


class Progress:
    """Shows hospitals on a console."""

    def __init__(self, console: Console, rounds: int) -> None:
        self._console, self._rounds = console, rounds
        self._live: Live | None = None
        self._said = 0

    @contextmanager
    def shown(self) -> Iterator["Progress"]:
        """While inside, the terminal's table is there."""
        if not self._console.is_terminal:
            yield self
            return
        with Live(console=self._console, auto_refresh=False) as live:
            self._live = live
            yield self
        self._live = None

    def update(self, hospitals: list[Hospital]) -> int:
        """Looks at all hospitals and shows them; gives the highest round that is open."""
        found = {hospital.name: hospital.status() for hospital in hospitals}
        open_now = [
            each for status in found.values() if status for each in status.studies if each.phase != ENDED
        ]
        number = max((study.round for study in open_now), default=0)
        if self._live is not None:
            self._live.update(_table(found, self._rounds), refresh=True)
        elif number > self._said:
            self._said = number
            self._console.print(f"  {_round(number, self._rounds)}")
        return number


def _round(number: int, rounds: int) -> str:
    return f"round {number} of {rounds}" if number <= rounds else "evaluation of the final model"


def _table(found: dict[str, SiteStatus | None], rounds: int) -> Table:
    table = Table()
    for heading in ("hospital", "verdict", "round", "state", "loss", "sent", "received", "yielded"):
        table.add_column(heading)
    for name, status in found.items():
        if status is None:
            table.add_row(name, "starting")
            continue
        study = status.studies[0] if status.studies else None
        table.add_row(
            name,
            status.verdict.text,
            _round(study.round, rounds) if study and study.phase != ENDED else "",
            _state(status, study),
            _loss(status, study),
            f"{status.broker.bytes_up / 1000:.1f} kB",
            f"{status.broker.bytes_down / 1000:.1f} kB",
            f"{status.yielded_s:.1f} s",
        )
    return table


def _state(status: SiteStatus, study: StudyView | None) -> str:
    if status.trainer.study and status.trainer.stage == "frozen":
        return "paused for the clinic"
    return study.phase if study else "no study yet"


def _loss(status: SiteStatus, study: StudyView | None) -> str:
    if status.trainer.loss is not None:
        return f"{status.trainer.loss:.3f}"
    metrics = {metric.name: metric.value for metric in study.metrics} if study else {}
    loss = metrics.get("training_loss", metrics.get("loss"))
    return "" if loss is None else f"{loss:.3f}"
