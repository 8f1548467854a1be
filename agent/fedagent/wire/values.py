# SPDX-License-Identifier: Apache-2.0
"""The limited types that every message, study and frame is made of.

Rule: a limit stands in the type, so that decoding is the only check.
"""

from collections.abc import Iterable
from typing import Annotated, Final

from msgspec import Meta

from fedagent.conditions.settings import RESERVED_WORD, THERE_TWICE

PROTOCOL: Final = 1
"""The newest version of everything below ``fedagent/v1/`` that this program understands; version N works with N-1."""

SPOKEN: Final = max(1, PROTOCOL - 1)
"""The version that this program speaks, and the oldest that it understands: a peer may be one version behind, and what goes to
all cannot be said to each in its own words. What version N adds is said from N+1 on."""

RESERVED_NAMES: Final = frozenset(
    {
        "aggregator",
        "all",
        "blob",
        "broker",
        "ca",
        "down",
        "fedagent",
        "hello",
        "presence",
        "round",
        "site",
        "up",
    }
)
"""Names that no site and no study may carry: they are words of the topics or of the identities."""

NAME_PATTERN: Final = r"^[a-z0-9][a-z0-9-]{1,31}\Z"  # \Z: $ would let a newline follow
Name = Annotated[str, Meta(pattern=NAME_PATTERN)]
"""A site's, study's or dataset's name."""

Digest = Annotated[bytes, Meta(min_length=32, max_length=32)]
"""SHA-256, 32 bytes."""

PublicKey = Annotated[bytes, Meta(min_length=32, max_length=32)]
"""An X25519 public key, RFC 7748 section 5."""

Sealed = Annotated[bytes, Meta(min_length=48, max_length=16384)]
"""An HPKE message (RFC 9180): 32 bytes of encapsulated key, ciphertext, 16 bytes of tag."""

RoundNumber = Annotated[int, Meta(ge=1, le=1_000_000)]
ChunkIndex = Annotated[int, Meta(ge=0, le=1_048_575)]
ChunkBytes = Annotated[int, Meta(ge=65_536, le=1_048_576, multiple_of=4096)]
TEXT_CHARACTERS: Final = 500
Text = Annotated[str, Meta(max_length=TEXT_CHARACTERS)]
Code = Annotated[str, Meta(pattern=r"^(FA[0-9]{4})?\Z")]

COLUMN_PATTERN: Final = r"^(?!__)[A-Za-z_][A-Za-z0-9_]*\Z"
ColumnName = Annotated[str, Meta(min_length=1, max_length=64, pattern=COLUMN_PATTERN)]
"""A study's column. Names with two leading underscores are the snapshot's own."""

Ratio = Annotated[float, Meta(ge=0.0, le=1.0)]
Finite = Annotated[float, Meta(ge=-1e30, le=1e30)]
"""No NaN, no infinity, and far enough from both that arithmetic stays so."""

Positive = Annotated[float, Meta(gt=0.0, le=1e30)]
NotNegative = Annotated[float, Meta(ge=0.0, le=1e30)]
Instant = Annotated[float, Meta(ge=0.0, le=253_402_300_799.0)]
"""Seconds since 1970 (POSIX time), to the end of the year 9999, which is as far as ``datetime`` goes."""

Count = Annotated[int, Meta(ge=1)]


def refuse_reserved(names: Iterable[str]) -> None:
    """Nothing, where all of these may name a site or a study.

    Raises:
        ValueError: one is a word of the topics or of the identities.
    """
    for name in names:
        if name in RESERVED_NAMES:
            raise ValueError(RESERVED_WORD(name=name))


def refuse_repeated(what: str, values: Iterable[str]) -> None:
    """Nothing, where these are all different.

    Raises:
        ValueError: one is there twice.
    """
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise ValueError(THERE_TWICE(what=what, value=value))
        seen.add(value)
