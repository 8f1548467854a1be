# SPDX-License-Identifier: Apache-2.0
"""Sealed secrets open for one key and one purpose."""

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from hypothesis import given
from hypothesis import strategies as st

from fedagent.errors import WireError
from fedagent.security.sealing import (
    SEALED_OVERHEAD_BYTES,
    model_key_context,
    new_private_key,
    public_key,
    seal,
    unseal,
    update_context,
)

PRIVATE = bytes(range(32))
PUBLIC = public_key(PRIVATE)


@given(plaintext=st.binary(max_size=200), context=st.binary(max_size=50))
def test_a_sealed_secret_opens_again(plaintext: bytes, context: bytes) -> None:
    sealed = seal(PUBLIC, plaintext, context=context)
    assert len(sealed) == len(plaintext) + SEALED_OVERHEAD_BYTES
    assert unseal(PRIVATE, sealed, context=context) == plaintext


def test_the_public_key_is_that_of_rfc_7748_section_6_1() -> None:
    alice = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
    assert public_key(alice).hex() == "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"


def test_secrets_are_those_of_hpke_with_the_suite_that_the_module_names() -> None:
    suite = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
    key = X25519PrivateKey.from_private_bytes(PRIVATE)
    assert unseal(PRIVATE, suite.encrypt(b"secret", key.public_key(), info=b"c"), context=b"c") == b"secret"


@given(st.data())
def test_an_altered_secret_is_refused(data: st.DataObject) -> None:
    sealed = bytearray(seal(PUBLIC, b"secret", context=b"c"))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.sampled_from((1, 2, 64, 255)))
    with pytest.raises(WireError):
        unseal(PRIVATE, bytes(sealed), context=b"c")


@pytest.mark.parametrize("size", [0, 1, 31, 32, 47, 48, 49])
def test_bytes_that_are_no_secret_are_refused(size: int) -> None:
    with pytest.raises(WireError):
        unseal(PRIVATE, bytes(size), context=b"c")


def test_another_key_does_not_open_it() -> None:
    with pytest.raises(WireError, match="not sealed to this key"):
        unseal(new_private_key(), seal(PUBLIC, b"secret", context=b"c"), context=b"c")


@pytest.mark.parametrize("public", [b"", bytes(31), bytes(32), bytes([1, *bytes(31)])])
def test_nothing_is_sealed_to_what_is_no_key(public: bytes) -> None:
    with pytest.raises(WireError, match="public key"):
        seal(public, b"secret", context=b"c")


CONTEXTS = {
    "model": model_key_context("heart-1", 3, "clinic-a", bytes(32)),
    "other study": model_key_context("heart-2", 3, "clinic-a", bytes(32)),
    "other round": model_key_context("heart-1", 4, "clinic-a", bytes(32)),
    "other site": model_key_context("heart-1", 3, "clinic-b", bytes(32)),
    "other blob": model_key_context("heart-1", 3, "clinic-a", bytes([1, *bytes(31)])),
    "shifted border": model_key_context("heart-", 3, "1clinic-a", bytes(32)),
    "update": update_context("heart-1", 3, "clinic-a"),
    "update of another round": update_context("heart-1", 4, "clinic-a"),
    "update of another site": update_context("heart-1", 3, "clinic-b"),
}


@pytest.mark.parametrize("opened", CONTEXTS)
@pytest.mark.parametrize("sealed", CONTEXTS)
def test_a_secret_opens_for_its_own_purpose_only(sealed: str, opened: str) -> None:
    secret = seal(PUBLIC, b"secret", context=CONTEXTS[sealed])
    if sealed == opened:
        assert unseal(PRIVATE, secret, context=CONTEXTS[opened]) == b"secret"
        return
    with pytest.raises(WireError):
        unseal(PRIVATE, secret, context=CONTEXTS[opened])


def test_contexts_keep_their_bytes() -> None:
    """A change here makes secrets of another version unreadable: it needs a new protocol version."""
    assert update_context("heart-1", 3, "clinic-a") == (
        b"\x94\xb9fedagent/v1 update secret\xa7heart-1\x03\xa8clinic-a"
    )
    assert model_key_context("heart-1", 3, "clinic-a", bytes(32)) == (
        b"\x95\xb5fedagent/v1 model key\xa7heart-1\x03\xa8clinic-a\xc4\x20" + bytes(32)
    )
