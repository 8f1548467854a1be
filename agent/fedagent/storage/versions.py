# SPDX-License-Identifier: Apache-2.0
"""The version that a small file of ours carries.

Rule: it is looked at before anything else, so that a newer file is called newer, not damaged.
"""

from contextlib import suppress
from pathlib import Path

import msgspec

from fedagent.conditions.files import NEWER_STATE
from fedagent.errors import StorageError


class _Versioned(msgspec.Struct, frozen=True):
    """All that every version's file has."""

    version: int


def refuse_newer(path: Path, data: bytes, known: int) -> None:
    """Nothing, unless this JSON says that it is of a newer version; whether it is whole is for its reader to say.

    Raises:
        StorageError: it does.
    """
    with suppress(msgspec.MsgspecError, UnicodeDecodeError):
        found = msgspec.json.decode(data, type=_Versioned).version
        if found > known:
            raise StorageError(NEWER_STATE(path=path, found=found, known=known))
