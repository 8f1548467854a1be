# SPDX-License-Identifier: Apache-2.0
"""TOML files to frozen values."""

from pathlib import Path
from typing import Annotated

import msgspec
import pytest
from msgspec import Meta

from fedagent.errors import ConfigurationError
from fedagent.storage.toml import read_toml


class Inner(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    threads: Annotated[int, Meta(ge=1)] = 1


class Either(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind"):
    delimiter: str = ","


class Outer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    name: str
    trainer: Inner = Inner()
    sources: tuple[Either, ...] = ()


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_a_file_becomes_its_value(tmp_path: Path) -> None:
    path = write(tmp_path / "a.toml", 'name = "x"\n[trainer]\nthreads = 2\n')
    assert read_toml(path, Outer) == Outer(name="x", trainer=Inner(threads=2))


def test_later_files_are_laid_over_key_by_key(tmp_path: Path) -> None:
    base = write(tmp_path / "a.toml", 'name = "x"\n[trainer]\nthreads = 2\n')
    first = write(tmp_path / "10.toml", 'name = "y"\n')
    second = write(tmp_path / "20.toml", "[trainer]\nthreads = 3\n")
    assert read_toml(base, Outer, overlays=(first, second)) == Outer(name="y", trainer=Inner(threads=3))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("", "name", id="missing key"),
        pytest.param("name = 1", "name: expected string, got integer; correct it", id="wrong type"),
        pytest.param(
            'name = "x"\ntrainr = 1', "trainr: unknown key; did you mean 'trainer'?", id="unknown key"
        ),
        pytest.param(
            'name = "x"\n[trainer]\nthread = 1',
            "trainer.thread: unknown key; did you mean 'threads'?",
            id="inner",
        ),
        pytest.param('name = "x"\nzzzz = 1', "zzzz: unknown key", id="nothing near"),
        pytest.param(
            'name = "x"\n[trainer]\nthreads = 0',
            "trainer.threads: expected integer >= 1; correct it",
            id="range",
        ),
        pytest.param(
            'name = "x"\n[[sources]]\nkind = "Either"\ndelimter = ";"', "delimter: unknown", id="list"
        ),
        pytest.param("name = ", "is not TOML", id="syntax"),
        pytest.param(b"name = '\xff'", "is not TOML", id="encoding"),
    ],
)
def test_a_wrong_file_is_named_with_its_key(tmp_path: Path, text: str | bytes, said: str) -> None:
    path = write(tmp_path / "a.toml", text)
    with pytest.raises(ConfigurationError) as raised:
        read_toml(path, Outer)
    assert str(path) in str(raised.value)
    assert said in str(raised.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot read .*absent\.toml: No such file"):
        read_toml(tmp_path / "absent.toml", Outer)


def test_an_error_names_the_overlays(tmp_path: Path) -> None:
    base = write(tmp_path / "a.toml", 'name = "x"\n')
    over = write(tmp_path / "10.toml", "name = 1\n")
    with pytest.raises(ConfigurationError, match=r"with 10\.toml"):
        read_toml(base, Outer, overlays=(over,))
