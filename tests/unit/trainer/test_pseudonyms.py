# SPDX-License-Identifier: Apache-2.0
"""Pseudonyms: the standard's own hash, under a key that is made once."""

import hashlib
import hmac
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedagent.errors import StorageError
from fedagent.trainer.engine import open_engine, quoted_text
from fedagent.trainer.pseudonyms import KEY_BYTES, hmac_sql, pseudonym_key


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with closing(open_engine(files=[])) as engine:
        yield engine


@given(
    st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
)
def test_the_hash_in_sql_is_pythons_hmac(engine: duckdb.DuckDBPyConnection, key: bytes, text: str) -> None:
    row = engine.execute(f"SELECT {hmac_sql(key, quoted_text(text))}").fetchone()
    assert row == (hmac.new(key, text.encode(), hashlib.sha256).hexdigest(),)


def test_the_key_is_made_once_and_is_private(state_folder: Path) -> None:
    key = pseudonym_key(state_folder)
    assert len(key) == KEY_BYTES
    assert pseudonym_key(state_folder) == key
    assert stat.S_IMODE((state_folder / "pseudonym.key").stat().st_mode) == 0o600
    assert [path.name for path in state_folder.iterdir()] == ["pseudonym.key"]


def test_a_damaged_key_is_not_replaced(state_folder: Path) -> None:
    (state_folder / "pseudonym.key").write_bytes(b"short")
    with pytest.raises(StorageError, match="is damaged; restore it from a backup"):
        pseudonym_key(state_folder)
    assert (state_folder / "pseudonym.key").read_bytes() == b"short"
