# SPDX-License-Identifier: Apache-2.0
"""A control message to signed bytes for its topic, and back with every check that needs no memory.

Rule: the topic decides who may speak and which one type is decoded; the message must say the same. Repeats are for
the receiver's store to refuse, and whether ``address.site`` is this program's site is for the receiver.
"""

from datetime import datetime

import msgspec

from fedagent.conditions.messages import MESSAGE_TOO_LONG, WRONG_SPEAKER, WRONG_STUDY, WRONG_TOPIC
from fedagent.errors import WireError
from fedagent.security.certificates import Signer, Trust
from fedagent.security.envelope import sign, verify
from fedagent.security.identity import Identity
from fedagent.wire.codec import decode, encode
from fedagent.wire.messages import Announcement, Message
from fedagent.wire.topics import Address, limit_bytes, message_type, parse


class Mail(msgspec.Struct, frozen=True):
    """A verified message with where it came and from whom."""

    message: Message
    address: Address
    sender: Identity
    sequence: int


def seal(message: Message, *, topic: str, sequence: int, signer: Signer) -> bytes:
    """The message, signed for this topic.

    Raises:
        WireError: the receiver would refuse it: wrong topic, wrong signer, too long.
    """
    address = parse(topic)
    _check_sender(address, signer.identity)
    if type(message) is not message_type(address):
        raise WireError(WRONG_TOPIC(message=type(message).__name__, topic=topic))
    _check_study(address, message)
    body = encode(message)
    if len(body) > limit_bytes(address):
        name = type(message).__name__
        raise WireError(MESSAGE_TOO_LONG(message=name, bytes=len(body), limit=limit_bytes(address)))
    return sign(body, topic=topic, sequence=sequence, signer=signer)


def open_mail(payload: bytes, *, topic: str, trust: Trust, now: datetime) -> Mail:
    """The message that came on this topic.

    Raises:
        WireError: whatever is wrong with topic, envelope, sender or message.
    """
    address = parse(topic)
    kind = message_type(address)
    limit = limit_bytes(address)
    verified = verify(payload, topic=topic, trust=trust, now=now, limit_bytes=limit)
    _check_sender(address, verified.sender)
    message = decode(verified.body, kind, limit_bytes=limit)
    _check_study(address, message)
    return Mail(message=message, address=address, sender=verified.sender, sequence=verified.sequence)


def _check_sender(address: Address, sender: Identity) -> None:
    if (sender.role, sender.name) != (address.role, address.sender):
        raise WireError(WRONG_SPEAKER(role=sender.role.value, name=sender.name), "topic")


def _check_study(address: Address, message: Message) -> None:
    """The study that the message names, where it names one, is the topic's."""
    named = message.study.name if isinstance(message, Announcement) else getattr(message, "study", None)
    if named != address.study:
        raise WireError(WRONG_STUDY(named=named, study=address.study), "$.study")
