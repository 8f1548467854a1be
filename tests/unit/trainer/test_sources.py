# SPDX-License-Identifier: Apache-2.0
"""Files of rows: what is wrong with one is said with file and line, never with a value."""

import os
from contextlib import closing
from pathlib import Path
from typing import Literal

import pytest

from fedagent.errors import ConfigurationError, DataError
from fedagent.trainer.datasets import CsvSource
from fedagent.trainer.sources import LINE_BYTES, OpenFile, Relation, check_encoding, csv_header

UTF8, LATIN1 = "Müller".encode(), "Müller".encode("latin-1")


def check(folder: Path, content: bytes, encoding: Literal["utf-8", "latin-1"] = "utf-8") -> None:
    path = folder / "a.csv"
    path.write_bytes(content)
    with closing(OpenFile(str(path))) as file:
        check_encoding(CsvSource(path=str(path), encoding=encoding), file)


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2", b"\xef\xbb\xbfa\n" + UTF8, b"a\r\n" + UTF8 + b"\r\n"])
def test_utf8_is_taken(tmp_path: Path, content: bytes) -> None:
    check(tmp_path, content)


def test_latin1_is_taken_where_it_is_declared(tmp_path: Path) -> None:
    check(tmp_path, b"name\n" + LATIN1 + b"\n", "latin-1")


@pytest.mark.parametrize(
    ("content", "encoding", "words"),
    [
        (
            b"name\nx\n" + LATIN1,
            "utf-8",
            'a.csv:3 is not UTF-8; save it as UTF-8, or set encoding = "latin-1"',
        ),
        (
            b"name\n" + UTF8 + b"\nx\n" + LATIN1,
            "utf-8",
            "a.csv:4 is not UTF-8, but line 2 is: the file mixes encodings",
        ),
        (b"name\n" + LATIN1 + b"\n" + UTF8, "latin-1", "a.csv:3 is UTF-8, not Latin-1"),
        (b"name\n\x93x\x94\n", "latin-1", "a.csv:2 is not Latin-1 (Windows-1252?)"),
        ("name\n".encode("utf-16"), "utf-8", "is UTF-16; save it as UTF-8"),
        (b"name\nx\0y\n", "utf-8", "a.csv:2 is longer than"),
        (b"name\n" + b"x" * LINE_BYTES, "utf-8", "a.csv:2 is longer than"),
    ],
)
def test_another_encoding_is_refused_with_file_and_line(
    tmp_path: Path, content: bytes, encoding: Literal["utf-8", "latin-1"], words: str
) -> None:
    with pytest.raises(DataError) as caught:
        check(tmp_path, content, encoding)
    assert words in str(caught.value)
    assert "ller" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file .*/a.csv; correct the path"):
        OpenFile(str(tmp_path / "a.csv"))


def test_what_is_no_file_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(DataError, match="is not a file"):
            OpenFile(str(path))


def header(folder: Path, content: str) -> tuple[str, ...]:
    path = folder / "a.csv"
    path.write_text(content)
    with closing(OpenFile(str(path))) as file:
        return csv_header(CsvSource(path=str(path)), file)


def test_a_header_may_be_quoted_over_two_lines(tmp_path: Path) -> None:
    assert header(tmp_path, '\ufeff"age, years", sex ,"a\nb"\n1,2,3\n') == ("age, years", "sex", "a\nb")


@pytest.mark.parametrize("content", ["", "\n1,2\n", ",,\n"])
def test_a_file_without_a_header_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(DataError, match="has no header line"):
        header(tmp_path, content)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (["age", "weight"], "it has no column 'wieght' (columns.weight); did you mean 'weight'?"),
        (["age", "zzz"], "it has no column 'wieght' (columns.weight); correct `from`"),
        (["63", "weight"], "its first line seems to be data; without a header line set header = false"),
        (["age", "wieght"], None),
    ],
)
def test_a_missing_column_comes_with_the_nearest_name_unless_names_may_be_values(
    columns: list[str], words: str | None
) -> None:
    relation = Relation("", dict.fromkeys(columns, ""), frozenset({"twin"}))
    if words is None:
        relation.require("wieght", "it", "columns.weight")
        return
    with pytest.raises(ConfigurationError) as caught:
        relation.require("wieght", "it", "columns.weight")
    assert words in str(caught.value)
    with pytest.raises(ConfigurationError, match="more than one column 'twin'"):
        relation.require("twin", "it", "patient")
