# SPDX-License-Identifier: Apache-2.0
"""A hospital's data folder: settings, CSV files and dataset definitions, in a private place of the test's own.

Rule: everything lies below the given folder; the product's own readers read it.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import tomli_w

from fedagent.trainer.datasets import read_definition
from fedagent.trainer.making import Made, make_snapshot
from fedagent.trainer.rows import MaskedColumn, read_columns
from fedagent.trainer.snapshots import SnapshotRecord, SnapshotStore

STUDY = """
name = "heart-1"
purpose = "Test."
contact = "study@example.org"
[task]
name = "tabular-classifier"
columns = [{ type = "numeric", name = "age" }]
label = { column = "ill", classes = ["no", "yes"] }
optimizer = { name = "sgd", learning_rate = 0.1 }
work = { unit = "steps", amount = 1 }
batch_size = 4
split = { by = "seed" }
[federation]
rounds = 1
sites = ["hospital-a"]
quorum = 1
deadline_s = 60.0
"""
"""A study of ``age`` that predicts ``ill``."""

BUDGET: Final = 1_048_576
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class DataHospital:
    """Settings, state and ``datasets.d`` of a hospital below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.state, self.datasets = folder, folder / "state", folder / "datasets.d"
        self.datasets.mkdir(parents=True)
        self.config = folder / "fedagent.toml"
        self.config.write_text(
            tomli_w.dumps(
                {
                    "site": {"name": "hospital-a"},
                    "broker": {"host": "localhost"},
                    "paths": {"trainer_state": str(self.state), "datasets": str(self.datasets)},
                }
            )
        )

    def write(self, name: str, content: str | bytes) -> Path:
        """A file of this content."""
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def define(
        self,
        name: str,
        sources: Sequence[Mapping[str, object]],
        columns: Mapping[str, object],
        **more: object,
    ) -> Path:
        """The file ``datasets.d/NAME.toml``."""
        path = self.datasets / f"{name}.toml"
        path.write_text(
            tomli_w.dumps({"name": name, "source": list(sources), "columns": dict(columns), **more})
        )
        return path

    def define_csv(
        self,
        text: str | bytes,
        columns: Mapping[str, object],
        *,
        name: str = "heart",
        source: Mapping[str, object] | None = None,
        **more: object,
    ) -> Path:
        """A dataset of one CSV file of this content."""
        path = self.write(f"{name}.csv", text)
        return self.define(name, [{"kind": "csv", "path": str(path), **(source or {})}], columns, **more)

    def make(self, name: str = "heart") -> Made:
        """The dataset's next snapshot."""
        return make_snapshot(self.state, read_definition(self.datasets, name), NOW, budget_bytes=BUDGET)

    def columns(self, *names: str, dataset: str = "heart") -> dict[str, MaskedColumn]:
        """These columns of the current snapshot."""
        return read_columns(self.record(dataset).path, names)

    def record(self, dataset: str = "heart") -> SnapshotRecord:
        """The current snapshot."""
        record = SnapshotStore(self.state / "snapshots").current(dataset)
        assert record is not None
        return record
