# SPDX-License-Identifier: Apache-2.0
"""Small studies on tables, their models, and snapshots as the store would hold them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb
import msgspec
import numpy as np

from fedagent.trainer.rows import MaskedColumn
from fedagent.trainer.tensor_file import Tensors
from fedagent.wire import study as s

Cell = float | str | bool | None
Cells = Sequence[Cell]
Columns = Mapping[str, Cells]


def make_study(
    task: s.Task, *, aggregation: s.FedAvg | s.FedProx | None = None, **changes: object
) -> s.Study:
    study = s.Study(
        name="table-1",
        purpose="Test.",
        contact="study@example.org",
        task=task,
        federation=s.Federation(
            rounds=3,
            sites=("clinic-a", "clinic-b"),
            quorum=1,
            deadline_s=60.0,
            aggregation=aggregation or s.FedAvg(),
        ),
        seed=11,
    )
    return msgspec.structs.replace(study, **changes)


def make_task(**changes: object) -> s.TabularClassifier:
    """Two numbers and a category; two classes; a file split."""
    task = s.TabularClassifier(
        columns=(
            s.Numeric(name="x"),
            s.Numeric(name="y"),
            s.Category(name="ward", categories=("north", "south"), baseline="north"),
        ),
        label=s.Label(column="ill", classes=("no", "yes")),
        optimizer=s.Sgd(learning_rate=0.1, momentum=0.9),
        work=s.Steps(amount=60),
        batch_size=7,
        split=s.FileSplit(),
    )
    return msgspec.structs.replace(task, **changes)


def make_columns(rows: int = 120, seed: int = 1) -> dict[str, Cells]:
    """Columns for ``make_task``: illness grows with x - y; every fourth row is for the test."""
    random = np.random.default_rng(seed)
    x, y = random.normal(size=rows), random.normal(size=rows)
    ill = x - y + random.normal(scale=0.3, size=rows) > 0.0
    return {
        "x": x.tolist(),
        "y": (y * 10.0 + 50.0).tolist(),
        "ward": [("north", "south")[index % 2] for index in range(rows)],
        "ill": ["yes" if each else "no" for each in ill],
        "__patient": [f"{index:04d}" for index in range(rows)],
        "__split": ["test" if index % 4 == 3 else "train" for index in range(rows)],
    }


def write_snapshot(path: Path, columns: Columns) -> Path:
    """A Parquet file with DOUBLE, VARCHAR and BOOLEAN columns, None being NULL."""
    lists = [f"unnest(?::{_sql_type(cells)}[]) AS {name}" for name, cells in columns.items()]
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE t AS SELECT {', '.join(lists)}", list(columns.values()))
        connection.execute(f"COPY t TO '{path}' (FORMAT parquet)")
    return path


def masked(cells: Cells) -> MaskedColumn:
    """A column as ``read_columns`` gives it."""
    mask = [cell is None for cell in cells]
    match _sql_type(cells):
        case "VARCHAR":
            return np.ma.masked_array(
                np.array(["" if cell is None else cell for cell in cells], dtype=object), mask
            )
        case kind:
            dtype = bool if kind == "BOOLEAN" else np.float64
            return np.ma.masked_array(np.array([cell or 0 for cell in cells], dtype=dtype), mask)


def make_table(columns: Columns) -> dict[str, MaskedColumn]:
    return {name: masked(cells) for name, cells in columns.items()}


def make_model(task: s.Task, seed: int = 5) -> Tensors:
    random = np.random.default_rng(seed)
    shapes = s.model_shapes(task)
    return {name: random.uniform(-0.4, 0.4, size=shape).astype(np.float32) for name, shape in shapes.items()}


def _sql_type(cells: Cells) -> str:
    kinds = {type(cell) for cell in cells if cell is not None} - {int}
    return {str: "VARCHAR", bool: "BOOLEAN"}.get(kinds.pop(), "DOUBLE") if kinds else "DOUBLE"
