# SPDX-License-Identifier: Apache-2.0
"""The signed envelope of every control message.

Rule: what is signed begins with ``CONTEXT``, so that a signature made for anything else never counts here; topic
and sequence are inside it, so that a message counts only where and as often as it was sent.
"""

import hashlib
from datetime import datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from fedagent.conditions.messages import NOT_CANONICAL, OTHER_PROTOCOL, TOO_LONG, WRONG_SIGNATURE
from fedagent.errors import WireError
from fedagent.security.certificates import CERTIFICATE_BYTES, Signer, Trust, is_signed
from fedagent.security.identity import Identity
from fedagent.wire.codec import decode, encode
from fedagent.wire.values import PROTOCOL, SPOKEN

CONTEXT: Final = "fedagent/v1 control message"
"""Names the use of the key, as RFC 9052 section 4.4 (COSE) and RFC 8446 section 4.4.3 (TLS 1.3) do: the same key signs
TLS handshakes, whose content begins with 64 spaces. Constant: it changes only with the layout of ``Signed``."""

OVERHEAD_BYTES: Final = CERTIFICATE_BYTES + 256
"""At most this many bytes of an envelope are not its body: certificate, signature, numbers, field names."""

LAST_SEQUENCE: Final = 2**63 - 1
"""The largest integer that SQLite stores."""


class Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is published.

    Attributes:
        sequence: grows with each message of a sender; the receiver's store refuses what does not grow.
        certificate: the signer's leaf, DER: keys rotate without a directory of keys.
    """

    version: Annotated[int, Meta(ge=1, le=65_535)]
    sequence: Annotated[int, Meta(ge=0, le=LAST_SEQUENCE)]
    certificate: Annotated[bytes, Meta(min_length=1, max_length=CERTIFICATE_BYTES)]
    body: bytes
    signature: Annotated[bytes, Meta(min_length=8, max_length=80)]


class Signed(msgspec.Struct, frozen=True, array_like=True):
    """What the signature covers: one MessagePack array, so each part's length is covered too."""

    context: str
    version: int
    topic: str
    sequence: int
    certificate_digest: bytes
    body: bytes


class Verified(msgspec.Struct, frozen=True):
    """A body that is known to be from that sender, for the topic that was asked about."""

    body: bytes
    sender: Identity
    sequence: int


def sign(body: bytes, *, topic: str, sequence: int, signer: Signer) -> bytes:
    """The body in an envelope that counts on this topic only."""
    covered = _covered(SPOKEN, topic, sequence, signer.certificate, body)
    envelope = Envelope(
        version=SPOKEN,
        sequence=sequence,
        certificate=signer.certificate,
        body=body,
        signature=signer.sign(covered),
    )
    return encode(envelope)


def verify(payload: bytes, *, topic: str, trust: Trust, now: datetime, limit_bytes: int) -> Verified:
    """The body, its sender and its sequence number.

    Args:
        topic: on which the payload came.
        limit_bytes: of the body.

    Raises:
        WireError: too long, not canonical, of another version, certificate or signature wrong.
    """
    envelope = decode(payload, Envelope, limit_bytes=limit_bytes + OVERHEAD_BYTES)
    if not SPOKEN <= envelope.version <= PROTOCOL:
        raise WireError(OTHER_PROTOCOL(version=envelope.version, ours=PROTOCOL), "$.version")
    if len(envelope.body) > limit_bytes:
        raise WireError(TOO_LONG(bytes=len(envelope.body), limit=limit_bytes), "$.body")
    if encode(envelope) != payload:  # one message has one form: no second spelling slips past an audit log
        raise WireError(NOT_CANONICAL())
    sender = trust.identify(envelope.certificate, now)
    covered = _covered(envelope.version, topic, envelope.sequence, envelope.certificate, envelope.body)
    if not is_signed(covered, envelope.signature, envelope.certificate):
        raise WireError(WRONG_SIGNATURE(name=sender.name), "$.signature")
    return Verified(body=envelope.body, sender=sender, sequence=envelope.sequence)


def _covered(version: int, topic: str, sequence: int, certificate: bytes, body: bytes) -> bytes:
    return encode(Signed(CONTEXT, version, topic, sequence, hashlib.sha256(certificate).digest(), body))
