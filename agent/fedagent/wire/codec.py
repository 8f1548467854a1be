# SPDX-License-Identifier: Apache-2.0
"""Bytes to values and back: the one place that decodes MessagePack.

Rule: the length is checked before the parser sees a byte, and every way to be wrong raises ``WireError`` with the path.
"""

from typing import Final, TypeVar

import msgspec

from fedagent.conditions.messages import MALFORMED, TOO_LONG
from fedagent.errors import WireError

T = TypeVar("T")

_AT: Final = " - at `"
"""How msgspec joins problem and path."""


def encode(value: msgspec.Struct) -> bytes:
    """The value's canonical MessagePack form."""
    return msgspec.msgpack.encode(value, order="deterministic")


def decode(data: bytes | memoryview, kind: type[T], *, limit_bytes: int) -> T:
    """The value in these bytes.

    Args:
        kind: a Struct or a union of tagged Structs.
        limit_bytes: more is refused unread.

    Raises:
        WireError: too long, not MessagePack, unknown or missing field, value outside its limits.
    """
    if len(data) > limit_bytes:
        raise WireError(TOO_LONG(bytes=len(data), limit=limit_bytes))
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        problem, _, path = str(error).rpartition(_AT)
        said = MALFORMED(reason=problem or path)
        raise (WireError(said, path.rstrip("`")) if problem else WireError(said)) from error
