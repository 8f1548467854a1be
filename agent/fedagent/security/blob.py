# SPDX-License-Identifier: Apache-2.0
"""A blob's encryption: AES-256-GCM chunk by chunk, so that each chunk can be checked and used alone.

Rule: a key encrypts one blob, once; a nonce is the chunk's index and whether it is the last, so chunks can be
neither reordered nor cut off at the end. This is STREAM (Hoang, Reyhanitabar, Rogaway and Vizár 2015, section 7,
ia.cr/2015/189) over AES-GCM (NIST SP 800-38D). An empty blob has no chunks and so no proof: its size stands in what
is signed about it.
"""

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fedagent.conditions.messages import CHUNK_ALTERED, NO_SUCH_BLOB_SIZE, WRONG_BLOB_KEY
from fedagent.errors import WireError

TAG_BYTES: Final = 16
KEY_BYTES: Final = 32


def new_blob_key() -> bytes:
    """A key for one blob, 32 bytes from the system's random generator."""
    return AESGCM.generate_key(KEY_BYTES * 8)


def ciphertext_bytes(plain_size: int, chunk_bytes: int) -> int:
    """Size of the blob.

    Args:
        plain_size: bytes before encryption.
        chunk_bytes: of ciphertext; each holds ``chunk_bytes - TAG_BYTES`` of plaintext, the last what is left.
    """
    return plain_size + TAG_BYTES * -(-plain_size // (chunk_bytes - TAG_BYTES))


def plaintext_bytes(cipher_size: int, chunk_bytes: int) -> int:
    """Size of what is in a blob of that size.

    Raises:
        WireError: no plaintext gives a blob of that size.
    """
    if 0 < cipher_size % chunk_bytes <= TAG_BYTES:
        raise WireError(NO_SUCH_BLOB_SIZE(bytes=cipher_size, chunk_bytes=chunk_bytes), "size_bytes")
    return cipher_size - TAG_BYTES * -(-cipher_size // chunk_bytes)


class BlobCipher:
    """Encrypts or decrypts the chunks of one blob, in any order."""

    def __init__(self, key: bytes) -> None:
        """Takes the blob's key.

        Raises:
            WireError: not 32 bytes.
        """
        if len(key) != KEY_BYTES:
            raise WireError(WRONG_BLOB_KEY(needed=KEY_BYTES, bytes=len(key)), "key")
        self._cipher = AESGCM(key)

    def encrypt(self, index: int, *, last: bool, chunk: bytes | memoryview) -> bytes:
        """The chunk's ciphertext, ``TAG_BYTES`` longer; call it once for each index of a key."""
        return self._cipher.encrypt(_nonce(index, last=last), chunk, None)

    def decrypt(self, index: int, *, last: bool, chunk: bytes | memoryview) -> bytes:
        """The chunk's plaintext.

        Raises:
            WireError: altered, from another place in the blob, of another key, or ``last`` is wrong.
        """
        try:
            return self._cipher.decrypt(_nonce(index, last=last), chunk, None)
        except InvalidTag as error:
            raise WireError(CHUNK_ALTERED(), f"$.chunks[{index}]") from error


def _nonce(index: int, *, last: bool) -> bytes:
    return index.to_bytes(11, "big") + bytes([last])
