# SPDX-License-Identifier: Apache-2.0
"""Mail: the right message, on the right topic, from the right sender."""

import msgspec
import pytest

from fedagent.errors import WireError
from fedagent.security.certificates import Signer
from fedagent.security.envelope import sign
from fedagent.security.identity import AGGREGATOR, Identity
from fedagent.security.mail import Mail, open_mail, seal
from fedagent.wire import messages as m
from fedagent.wire.codec import encode
from fedagent.wire.topics import (
    CONTROL_BYTES,
    Role,
    aggregator_topic,
    message_kind,
    parse,
    round_topic,
    site_topic,
)
from tests.fakes.certificates import NOW, FakeAuthority
from tests.fakes.examples import AGGREGATOR_MESSAGES, BLOB, KEY, SITE_MESSAGES, STUDY, named

AUTHORITY = FakeAuthority()
TRUST = AUTHORITY.trust
SITE = AUTHORITY.site("clinic-a")
OTHER_SITE = AUTHORITY.site("clinic-b")
CENTRE = AUTHORITY.aggregator()


def study_of(message: m.Message) -> str | None:
    return getattr(message, "study", None)


def topic_of(message: m.Message) -> str:
    if isinstance(message, m.Announcement):
        return round_topic(message.study.name)
    write = site_topic if message in SITE_MESSAGES else aggregator_topic
    return write("clinic-a", message_kind(message), study_of(message))


def signer_of(message: m.Message) -> Signer:
    return SITE if message in SITE_MESSAGES else CENTRE


def opened(payload: bytes, topic: str) -> Mail:
    return open_mail(payload, topic=topic, trust=TRUST, now=NOW)


def forged(message: m.Message, topic: str, signer: Signer) -> bytes:
    """What a peer that keeps no rule could publish."""
    return sign(encode(message), topic=topic, sequence=1, signer=signer)


@pytest.mark.parametrize("message", [*SITE_MESSAGES, *AGGREGATOR_MESSAGES], ids=named)
def test_every_message_arrives_on_its_topic(message: m.Message) -> None:
    topic, signer = topic_of(message), signer_of(message)
    mail = opened(seal(message, topic=topic, sequence=5, signer=signer), topic)
    assert mail == Mail(message=message, address=parse(topic), sender=signer.identity, sequence=5)
    assert mail.sender == (Identity(Role.SITE, "clinic-a") if signer is SITE else AGGREGATOR)


HELLO = SITE_MESSAGES[1]
RECEIPT = m.Receipt(study="heart-1", round=3, blob=BLOB)
JOIN = m.Join(study="heart-1", round=3, study_digest=BLOB, trainer_key=KEY)
ANNOUNCEMENT = next(message for message in AGGREGATOR_MESSAGES if isinstance(message, m.Announcement))
OTHER_ANNOUNCEMENT = msgspec.structs.replace(
    ANNOUNCEMENT, study=msgspec.structs.replace(STUDY, name="heart-2")
)

WRONG: dict[str, tuple[m.Message, str, Signer, str]] = {
    "a site speaks for another": (HELLO, site_topic("clinic-a", "hello"), OTHER_SITE, "may not speak"),
    "the aggregator speaks for a site": (HELLO, site_topic("clinic-a", "hello"), CENTRE, "may not speak"),
    "a site speaks for the aggregator": (
        RECEIPT,
        aggregator_topic("clinic-a", "receipt", "heart-1"),
        SITE,
        "may not speak",
    ),
    "a site announces a round": (ANNOUNCEMENT, round_topic("heart-1"), SITE, "may not speak"),
    "another study's announcement": (
        OTHER_ANNOUNCEMENT,
        round_topic("heart-1"),
        CENTRE,
        "about study 'heart-2'",
    ),
    "another study's message": (
        JOIN,
        site_topic("clinic-a", "join", "heart-2"),
        SITE,
        "about study 'heart-1'",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_mail_is_neither_sent_nor_believed_where(case: str) -> None:
    message, topic, signer, reason = WRONG[case]
    with pytest.raises(WireError, match=reason):
        seal(message, topic=topic, sequence=1, signer=signer)
    with pytest.raises(WireError, match=reason):
        opened(forged(message, topic, signer), topic)


def test_only_the_type_of_the_topic_is_decoded() -> None:
    topic = site_topic("clinic-a", "decline", "heart-1")
    with pytest.raises(WireError, match="Join does not belong"):
        seal(JOIN, topic=topic, sequence=1, signer=SITE)
    with pytest.raises(WireError, match="Invalid value 'join'"):
        opened(forged(JOIN, topic, SITE), topic)


@pytest.mark.parametrize(
    "topic",
    ["", "fedagent/v1/up/clinic-a", "fedagent/v1/up/clinic-a/heart-1/chunk", "fedagent/v2/up/clinic-a/hello"],
)
def test_there_is_no_mail_elsewhere(topic: str) -> None:
    with pytest.raises(WireError):
        seal(HELLO, topic=topic, sequence=1, signer=SITE)
    with pytest.raises(WireError):
        opened(forged(HELLO, topic, SITE), topic)


def test_a_message_that_is_too_long_is_neither_sent_nor_read() -> None:
    topic = site_topic("clinic-a", "hello")
    position = m.StudyPosition(study="heart-1", round=3, phase="x" * 500, update=BLOB)
    message = m.SiteHello(version="1", protocol=1, positions=(position,) * 256)
    assert len(encode(message)) > CONTROL_BYTES
    with pytest.raises(WireError, match="allowed are 65536"):
        seal(message, topic=topic, sequence=1, signer=SITE)
    with pytest.raises(WireError, match="allowed are"):
        opened(forged(message, topic, SITE), topic)


def test_an_error_in_the_message_has_its_path() -> None:
    topic = site_topic("clinic-a", "join", "heart-1")
    with pytest.raises(WireError) as caught:
        opened(forged(msgspec.structs.replace(JOIN, round=0), topic, SITE), topic)
    assert caught.value.path == "$.round"
