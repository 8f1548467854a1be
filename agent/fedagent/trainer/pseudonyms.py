# SPDX-License-Identifier: Apache-2.0
"""Patient identifiers become keyed hashes that only this machine can make.

Rule: an identifier is in no file of ours; the key is made once and never leaves the trainer's state folder.
Source: HMAC-SHA256, RFC 2104.
"""

import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from fedagent.conditions.data import DAMAGED_PSEUDONYM_KEY
from fedagent.conditions.files import TRAINER_CANNOT_READ
from fedagent.errors import StorageError
from fedagent.storage import disk
from fedagent.storage.files import make_private_folder

KEY_BYTES: Final = 32
_BLOCK_BYTES: Final = 64  # of SHA-256


def pseudonym_key(state: Path) -> bytes:
    """The key, 32 bytes, from ``pseudonym.key`` in the trainer's state folder; made at the first call.

    Raises:
        StorageError: it cannot be read or made, or is damaged.
    """
    path = make_private_folder(state) / "pseudonym.key"
    try:
        if not path.exists():
            _make(path)
        key = path.read_bytes()
    except OSError as error:
        raise StorageError(TRAINER_CANNOT_READ(path=path, reason=error.strerror)) from error
    if len(key) != KEY_BYTES:
        raise StorageError(DAMAGED_PSEUDONYM_KEY(path=path))
    return key


def hmac_sql(key: bytes, text: str) -> str:
    """HMAC-SHA256 of a VARCHAR expression as 64 hexadecimal digits, in DuckDB's SQL: RFC 2104, section 2."""
    block = key.ljust(_BLOCK_BYTES, b"\0")
    inner, outer = (_blob_sql(bytes(byte ^ pad for byte in block)) for pad in (0x36, 0x5C))
    return f"sha256({outer} || unhex(sha256({inner} || encode({text}))))"


def _blob_sql(data: bytes) -> str:
    return f"unhex('{data.hex()}')"


def _make(path: Path) -> None:
    """Two programs may do this at once: the first link wins, and both read that one."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with disk.created(part) as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.sync()
        with suppress(FileExistsError):
            disk.link(part, path)
    finally:
        disk.remove(part)
