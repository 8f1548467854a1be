# SPDX-License-Identifier: Apache-2.0
"""Secrets to one recipient: HPKE (RFC 9180), base mode, X25519, HKDF-SHA256, AES-256-GCM.

Rule: every sealed secret is bound to what it is for by a context (HPKE's ``info``); the two contexts below are all
that exist, begin with different constants, and change only with the protocol version. The sender is proven by the
envelope around it, not here.
"""

from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from fedagent.conditions.messages import NOT_SEALED_TO_US, WRONG_RECIPIENT_KEY
from fedagent.errors import WireError
from fedagent.wire.codec import encode

MODEL_KEY_CONTEXT: Final = "fedagent/v1 model key"
UPDATE_CONTEXT: Final = "fedagent/v1 update secret"

SEALED_OVERHEAD_BYTES: Final = 48
"""A sealed secret is this much longer than the secret: encapsulated key (32) and tag (16)."""

_SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


class ModelKeyContext(msgspec.Struct, frozen=True, array_like=True):
    """What a global model's key is sealed for."""

    context: str
    study: str
    round: int
    site: str
    blob: bytes


class UpdateContext(msgspec.Struct, frozen=True, array_like=True):
    """What an ``UpdateSecret`` is sealed for."""

    context: str
    study: str
    round: int
    site: str


def model_key_context(study: str, round_number: int, site: str, blob: bytes) -> bytes:
    """Binds a model's key to study (its name), round, receiving site and the model's blob digest."""
    return encode(ModelKeyContext(MODEL_KEY_CONTEXT, study, round_number, site, blob))


def update_context(study: str, round_number: int, site: str) -> bytes:
    """Binds an ``UpdateSecret`` to study (its name), round and sending site."""
    return encode(UpdateContext(UPDATE_CONTEXT, study, round_number, site))


def new_private_key() -> bytes:
    """A new X25519 private key, 32 bytes (RFC 7748)."""
    return X25519PrivateKey.generate().private_bytes_raw()


def public_key(private: bytes) -> bytes:
    """The private key's public one, 32 bytes."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def seal(public: bytes, plaintext: bytes, *, context: bytes) -> bytes:
    """The plaintext for the holder of that key alone, ``SEALED_OVERHEAD_BYTES`` longer.

    Raises:
        WireError: the public key came from a peer and is none.
    """
    try:
        return _SUITE.encrypt(plaintext, X25519PublicKey.from_public_bytes(public), info=context)
    except ValueError as error:  # of another length, or of small order (RFC 7748 section 6.1)
        raise WireError(WRONG_RECIPIENT_KEY(), "public_key") from error


def unseal(private: bytes, sealed: bytes, *, context: bytes) -> bytes:
    """What was sealed to this key with this context.

    Raises:
        WireError: sealed to another key, for another context, or altered.
    """
    try:
        return _SUITE.decrypt(sealed, X25519PrivateKey.from_private_bytes(private), info=context)
    except (InvalidTag, ValueError) as error:
        raise WireError(NOT_SEALED_TO_US(), "secret") from error
