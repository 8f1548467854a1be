# SPDX-License-Identifier: Apache-2.0
"""The limits of the wire's smallest parts."""

import math
from typing import Any

import msgspec
import pytest

from fedagent.wire import values as v


@pytest.mark.parametrize("name", ["a1", "clinic-a", "0-9", "a" * 32])
def test_a_name_is_small_letters_digits_and_dashes(name: str) -> None:
    assert msgspec.convert(name, v.Name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a",
        "a" * 33,
        "-a",
        "A1",
        "a_1",
        "a.1",
        "a/1",
        "a1\n",
        "\na1",
        "a 1",
        "\N{LATIN SMALL LETTER A WITH DIAERESIS}1",
        "a+",
        "a#",
    ],
)
def test_what_could_be_a_topic_or_a_path_is_no_name(name: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(name, v.Name)


@pytest.mark.parametrize("name", ["", "1a", "a-b", "a b", "a\n", "__patient", "__split", "a" * 65, "a;b"])
def test_what_could_be_sql_or_the_snapshots_own_is_no_column(name: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(name, v.ColumnName)


@pytest.mark.parametrize("name", ["a", "_a", "A_1", "a" * 64])
def test_a_column_is_named_like_a_variable(name: str) -> None:
    assert msgspec.convert(name, v.ColumnName) == name


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e31, -1e31])
@pytest.mark.parametrize("kind", [v.Finite, v.Positive, v.NotNegative, v.Instant, v.Ratio])
def test_no_number_is_infinite_or_none(kind: type[Any], value: float) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(value, kind)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (v.Positive, 0.0),
        (v.NotNegative, -1e-9),
        (v.Instant, -1.0),
        (v.Instant, 253_402_300_800.0),
        (v.Ratio, 1.01),
        (v.Count, 0),
        (v.Digest, bytes(31)),
        (v.Digest, bytes(33)),
        (v.PublicKey, bytes(33)),
        (v.Sealed, bytes(47)),
        (v.Sealed, bytes(16_385)),
        (v.RoundNumber, 0),
        (v.ChunkIndex, -1),
        (v.ChunkIndex, 2**20),
        (v.ChunkBytes, 65_535),
        (v.ChunkBytes, 65_537),
        (v.ChunkBytes, 2**20 + 4096),
        (v.Text, "x" * 501),
    ],
)
def test_a_value_outside_its_limits_is_refused(kind: type[Any], value: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(value, kind)


def test_reserved_words_are_refused() -> None:
    v.refuse_reserved(["clinic-a", "clinic-b"])
    for word in v.RESERVED_NAMES:
        with pytest.raises(ValueError, match="reserved"):
            v.refuse_reserved(["clinic-a", word])


def test_repeated_values_are_refused_by_name() -> None:
    v.refuse_repeated("site", ["a", "b"])
    with pytest.raises(ValueError, match="site 'a' is there twice"):
        v.refuse_repeated("site", ["a", "b", "a"])
