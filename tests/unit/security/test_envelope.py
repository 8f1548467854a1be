# SPDX-License-Identifier: Apache-2.0
"""A signed envelope counts unaltered, on its topic, from its sender, or not at all."""

import hashlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, derive_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st

from fedagent.errors import WireError
from fedagent.security.certificates import Signer, Trust, key_to_pem
from fedagent.security.envelope import CONTEXT, LAST_SEQUENCE, OVERHEAD_BYTES, Envelope, sign, verify
from fedagent.security.identity import Identity
from fedagent.wire.codec import encode
from fedagent.wire.topics import Role
from tests.fakes.certificates import NOW, FakeAuthority, public_key_of

AUTHORITY = FakeAuthority()
TRUST = AUTHORITY.trust
SITE = AUTHORITY.site("clinic-a")
OTHER = AUTHORITY.site("clinic-b")
TOPIC = "fedagent/v1/up/clinic-a/hello"
LIMIT = 1000


def payload(body: bytes = b"body", sequence: int = 7) -> bytes:
    return sign(body, topic=TOPIC, sequence=sequence, signer=SITE)


def opened(data: bytes, topic: str = TOPIC) -> bytes:
    return verify(data, topic=topic, trust=TRUST, now=NOW, limit_bytes=LIMIT).body


def changed(**fields: object) -> bytes:
    envelope = msgspec.msgpack.decode(payload(), type=Envelope)
    return encode(msgspec.structs.replace(envelope, **fields))


@given(body=st.binary(max_size=LIMIT), sequence=st.integers(0, LAST_SEQUENCE))
def test_what_was_signed_is_verified(body: bytes, sequence: int) -> None:
    verified = verify(payload(body, sequence), topic=TOPIC, trust=TRUST, now=NOW, limit_bytes=LIMIT)
    assert verified.body == body
    assert verified.sequence == sequence
    assert verified.sender == Identity(Role.SITE, "clinic-a")


def test_the_same_message_is_the_same_bytes() -> None:
    assert payload() == payload()


@pytest.mark.filterwarnings("ignore")  # cryptography warns of some encodings that older programs wrote
def test_no_byte_can_be_altered() -> None:
    good = payload()
    for index in range(len(good)):
        for flip in (1, 0x10, 0x80, 0xFF):
            altered = bytearray(good)
            altered[index] ^= flip
            with pytest.raises(WireError):
                opened(bytes(altered))


@given(st.data())
def test_no_byte_can_be_taken_away_or_added(data: st.DataObject) -> None:
    good = payload()
    index = data.draw(st.integers(0, len(good) - 1))
    with pytest.raises(WireError):
        opened(good[:index])
    with pytest.raises(WireError):
        opened(good + bytes([index % 256]))


@given(st.binary(max_size=2 * LIMIT))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        opened(data)


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "another version": (lambda: changed(version=2), "protocol version 2"),
    "another body": (lambda: changed(body=b"other"), "signature"),
    "another sequence": (lambda: changed(sequence=8), "signature"),
    "another's certificate": (lambda: changed(certificate=OTHER.certificate), "signature"),
    "another's signature": (lambda: changed(signature=OTHER.sign(b"body")), "signature"),
    "a signature over the bare body": (lambda: changed(signature=SITE.sign(b"body")), "signature"),
    "a body that is too long": (lambda: payload(bytes(LIMIT + 1)), "allowed are 1000"),
    "an envelope that is too long": (lambda: bytes(LIMIT + OVERHEAD_BYTES + 1), "allowed are"),
    "a foreign authority": (
        lambda: sign(b"body", topic=TOPIC, sequence=7, signer=FakeAuthority().site("clinic-a")),
        "did not sign",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_envelope_is_refused_with(case: str) -> None:
    make, reason = REFUSED[case]
    with pytest.raises(WireError, match=reason):
        opened(make())


@pytest.mark.parametrize("topic", ["fedagent/v1/up/clinic-b/hello", "fedagent/v1/up/clinic-a/presence", ""])
def test_a_message_does_not_count_on_another_topic(topic: str) -> None:
    with pytest.raises(WireError, match="signature"):
        opened(payload(), topic)


def test_a_second_spelling_of_the_same_message_is_refused() -> None:
    envelope = msgspec.msgpack.decode(payload(), type=Envelope)
    fields = dict(reversed(msgspec.structs.asdict(envelope).items()))
    with pytest.raises(WireError, match="canonical"):
        opened(msgspec.msgpack.encode(fields))


def test_an_expired_certificate_signs_nothing() -> None:
    with pytest.raises(WireError, match="expired"):
        verify(payload(), topic=TOPIC, trust=TRUST, now=NOW + timedelta(days=2), limit_bytes=LIMIT)


def test_a_body_of_the_allowed_length_always_fits() -> None:
    assert len(opened(payload(bytes(LIMIT), LAST_SEQUENCE))) == LIMIT


def test_the_signature_covers_context_and_all_that_the_design_names() -> None:
    """Written out by hand, so that another program can be written from it."""
    envelope = msgspec.msgpack.decode(payload(), type=Envelope)
    digest = hashlib.sha256(envelope.certificate).digest()
    covered = msgspec.msgpack.encode([CONTEXT, 1, TOPIC, 7, digest, b"body"])
    public_key_of(envelope.certificate).verify(envelope.signature, covered, ECDSA(SHA256()))
    assert CONTEXT == "fedagent/v1 control message"


# --- the envelope of protocol version 1, made once ------------------------------------------------------------------

GOLDEN = Path(__file__).parents[2] / "data" / "golden" / "envelope-v1"
GOLDEN_KEY = derive_private_key(0x6665646167656E74, SECP256R1())


def golden_signer() -> Signer:
    return Signer((GOLDEN / "site.crt").read_bytes(), key_to_pem(GOLDEN_KEY, None))


def test_an_envelope_is_written_as_it_was_at_this_protocol_version() -> None:
    made = sign(b"body", topic=TOPIC, sequence=7, signer=golden_signer())
    assert made.hex() == (GOLDEN / "envelope.hex").read_text("ascii").replace("\n", "")


def test_an_envelope_is_read_as_it_was_at_this_protocol_version() -> None:
    data = bytes.fromhex((GOLDEN / "envelope.hex").read_text("ascii"))
    trust = Trust((GOLDEN / "ca.crt").read_bytes())
    verified = verify(data, topic=TOPIC, trust=trust, now=NOW, limit_bytes=LIMIT)
    assert (verified.body, verified.sender.name, verified.sequence) == (b"body", "clinic-a", 7)


# --- the next version and this one -----------------------------------------------------------------------------------


def speak(patch: pytest.MonkeyPatch, newest: int) -> None:
    """Makes this program the one of that version."""
    patch.setattr("fedagent.security.envelope.PROTOCOL", newest)
    patch.setattr("fedagent.security.envelope.SPOKEN", max(1, newest - 1))


@pytest.mark.parametrize(
    ("sender", "receiver", "understood"),
    [(1, 1, True), (2, 1, True), (1, 2, True), (2, 2, True), (3, 2, True), (3, 1, False), (1, 3, False)],
)
def test_a_peer_one_version_ahead_or_behind_is_understood_and_one_two_versions_is_not(
    monkeypatch: pytest.MonkeyPatch, sender: int, receiver: int, understood: bool
) -> None:
    speak(monkeypatch, sender)
    data = payload()
    speak(monkeypatch, receiver)
    if understood:
        assert opened(data) == b"body"
        return
    with pytest.raises(WireError, match="protocol version"):
        opened(data)


def test_the_next_version_reads_the_envelope_of_version_1(monkeypatch: pytest.MonkeyPatch) -> None:
    speak(monkeypatch, 2)
    test_an_envelope_is_read_as_it_was_at_this_protocol_version()
    test_an_envelope_is_written_as_it_was_at_this_protocol_version()
