# SPDX-License-Identifier: Apache-2.0
"""What the demo ends with: one table for people, one JSON object for programs, one picture.

Rule: every number is read from what the system itself reported.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from rich.console import Console
from rich.table import Table

from fedagent.demo import picture
from fedagent.demo.federation import MetricRow

COMBINED: Final = "all"


class SiteRow(msgspec.Struct, frozen=True, kw_only=True):
    """One hospital."""

    name: str
    rows: int
    local_auc: float
    federated_auc: float
    pooled_auc: float
    bytes_up: int
    bytes_down: int
    yielded_s: float


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The demo's whole result.

    Attributes:
        model_digest: SHA-256 of the final model's safetensors bytes; the same for the same seed.
        federated_auc: over all hospitals' test patients, weighted by their number; ``pooled_auc`` likewise.
    """

    seed: int
    rounds: int
    model_digest: str
    federated_auc: float
    pooled_auc: float
    seconds: float
    sites: tuple[SiteRow, ...]


class Score(msgspec.Struct, frozen=True):
    """A metric of a reference on one site's test rows."""

    value: float
    count: int


class References(msgspec.Struct, frozen=True):
    """What training without federation gives: each hospital alone, and all rows in one place."""

    local: dict[str, dict[str, Score]]
    pooled: dict[str, dict[str, Score]]

    def pooled_mean(self, metric: str) -> float:
        """The pooled model's metric over all sites, weighted by their test patients."""
        scores = [site[metric] for site in self.pooled.values() if metric in site]
        return sum(score.value * score.count for score in scores) / sum(score.count for score in scores)


def final(rows: Sequence[MetricRow], site: str, metric: str) -> float:
    """The final model's metric at a site (``all``: over all sites)."""
    last = max(row.model for row in rows)
    return next(row.value for row in rows if (row.model, row.site, row.metric) == (last, site, metric))


def print_table(console: Console, result: Result) -> None:
    """The table."""
    table = Table(
        title=f"{len(result.sites)} hospitals, {result.rounds} rounds, seed {result.seed}",
        title_justify="left",
    )
    for heading in (
        "hospital",
        "training rows",
        "alone",
        "federated",
        "pooled",
        "sent",
        "received",
        "yielded",
    ):
        table.add_column(heading, justify="left" if heading == "hospital" else "right", no_wrap=True)
    for site in result.sites:
        table.add_row(
            site.name,
            str(site.rows),
            f"{site.local_auc:.3f}",
            f"{site.federated_auc:.3f}",
            f"{site.pooled_auc:.3f}",
            f"{site.bytes_up / 1000:.1f} kB",
            f"{site.bytes_down / 1000:.1f} kB",
            f"{site.yielded_s:.1f} s",
        )
    table.add_section()
    table.add_row(COMBINED, "", "", f"{result.federated_auc:.3f}", f"{result.pooled_auc:.3f}", "", "", "")
    console.print(table)
    console.print(
        "AUC on each hospital's own test patients: its own model alone, the federated model, and one trained on all data in one place."
    )
    console.print(f"model {result.model_digest}")


def curves(rows: Sequence[MetricRow], references: References) -> str:
    """The picture: AUC of the global model at each hospital after each round, with the pooled model's as a level."""
    sites = sorted({row.site for row in rows} - {COMBINED})
    lines: Mapping[str, picture.Curve] = {
        name: [(row.model, row.value) for row in rows if row.site == site and row.metric == "auc"]
        for site, name in [(COMBINED, "all hospitals"), *((site, site) for site in sites)]
    }
    levels = {"pooled data": references.pooled_mean("auc")}
    return picture.draw(
        "AUC of the shared model on each hospital's test patients", "AUC", lines, levels=levels
    )
