# SPDX-License-Identifier: Apache-2.0
"""DuckDB, shut in: one thread, bounded memory, no file but the named ones, no network, no way to change that.

Rule: DuckDB's error texts may quote a patient's row: whoever catches ``duckdb.Error`` says it in own words, ``from None``.
Source: DuckDB documentation, "Securing DuckDB" (allowed_paths and allowed_directories before enable_external_access).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import duckdb

MEMORY_MIB: Final = 512
"""More than this goes to the work folder: a table of any size needs no more."""


def open_engine(*, files: Sequence[str], work: Path | None = None) -> duckdb.DuckDBPyConnection:
    """A connection that reads these files and writes below the work folder only.

    Args:
        files: exact paths, without wildcards (``/proc/self/fd/N`` for an open descriptor).
        work: an existing folder for the database and what does not fit into memory; none: memory only.
    """
    database = ":memory:" if work is None else str(work / "work.duckdb")
    connection = duckdb.connect(
        database,
        config={
            "threads": 1,
            "memory_limit": f"{MEMORY_MIB}MiB",
            "preserve_insertion_order": True,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "temp_directory": "" if work is None else str(work / "spill"),
        },
    )
    if work is not None:
        connection.execute(f"SET allowed_directories=[{quoted_text(f'{work}/')}]")
    connection.execute(f"SET allowed_paths=[{', '.join(map(quoted_text, files))}]")
    connection.execute("SET enable_external_access=false")
    connection.execute("SET lock_configuration=true")
    return connection


def quoted_name(name: str) -> str:
    """The identifier as SQL writes it, whatever is in it (DuckDB and PostgreSQL alike)."""
    return '"' + name.replace('"', '""') + '"'


def quoted_text(text: str) -> str:
    """The string as a literal of DuckDB's SQL, whatever is in it."""
    return "'" + text.replace("'", "''") + "'"
