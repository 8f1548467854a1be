# SPDX-License-Identifier: Apache-2.0
"""The rows of a snapshot, column by column.

Rule: only the columns that were named are read, and nothing of a row stands in an error.
"""

from collections.abc import Sequence
from pathlib import Path

import duckdb
import numpy as np

from fedagent.conditions.data import SNAPSHOT_LACKS_COLUMN, SNAPSHOT_UNREADABLE
from fedagent.errors import DataError
from fedagent.trainer.engine import open_engine, quoted_name

MaskedColumn = np.ma.MaskedArray[tuple[int], np.dtype[np.generic]]


def read_columns(path: str | Path, names: Sequence[str]) -> dict[str, MaskedColumn]:
    """The columns' values in the snapshot's row order; "not known" is masked.

    Args:
        path: of the Parquet file; ``/proc/self/fd/N`` reads an open descriptor.
        names: study columns, ``__patient`` or ``__split``.

    Returns:
        For each name a masked array, shape (rows,): float64, object (str) or bool.

    Raises:
        DataError: no such column, or no Parquet file.
    """
    names = tuple(dict.fromkeys(names))
    if not names:
        return {}
    wanted = ", ".join(map(quoted_name, names))
    try:
        with open_engine(files=[str(path)]) as engine:
            found = {
                row[0]
                for row in engine.execute("DESCRIBE SELECT * FROM read_parquet(?)", [str(path)]).fetchall()
            }
            lacking = [name for name in names if name not in found]
            if lacking:
                raise DataError(SNAPSHOT_LACKS_COLUMN(column=lacking[0]))
            arrays = engine.execute(f"SELECT {wanted} FROM read_parquet(?)", [str(path)]).fetchnumpy()  # noqa: S608
    except duckdb.OutOfMemoryException:
        raise MemoryError from None
    except duckdb.Error:
        raise DataError(SNAPSHOT_UNREADABLE()) from None
    return {name: np.ma.masked_array(arrays[name], mask=np.ma.getmaskarray(arrays[name])) for name in names}
