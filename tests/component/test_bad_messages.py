# SPDX-License-Identifier: Apache-2.0
"""Messages that are wrong: the site's daemon says one line for each, takes it off the broker's hands, and changes nothing."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from fedagent.security.certificates import Signer
from fedagent.security.envelope import sign
from fedagent.security.identity import AGGREGATOR, Identity
from fedagent.transport.events import Arrived
from fedagent.wire.codec import encode
from fedagent.wire.messages import (
    AggregatorHello,
    Announcement,
    ModelReference,
    Presence,
    Receipt,
    RoundKind,
)
from fedagent.wire.topics import Role, aggregator_topic, round_topic
from tests.component.test_site_daemon import Site
from tests.fakes.clinic import IDENTITY, SITE, holder, new_authority

ROUND = round_topic(IDENTITY.name)
HELLO = aggregator_topic(SITE, "hello")
TERABYTE = 2**40


class Letter(NamedTuple):
    """What arrives."""

    topic: str
    payload: bytes


class Case(NamedTuple):
    """What arrives, and what the journal has of it; nothing where a message is only a repeat."""

    name: str
    write: Callable[[Site], Letter]
    lines: tuple[str, ...]


def greeting() -> bytes:
    return encode(AggregatorHello(version="1", protocol=1))


def signed(
    body: bytes, topic: str = HELLO, *, signer: Signer | None = None, on: str | None = None
) -> Callable[[Site], Letter]:
    """The body in an envelope that was signed for ``topic`` and arrives on ``on``."""

    def write(site: Site) -> Letter:
        by = signer or site.clinic.aggregator
        return Letter(on or topic, sign(body, topic=topic, sequence=50, signer=by))

    return write


def announced(size_bytes: int) -> bytes:
    model = ModelReference(blob=bytes(32), size_bytes=1, chunk_bytes=65_536, plaintext=bytes(32))
    made = Announcement(
        study=IDENTITY,
        round=4,
        round_kind=RoundKind.TRAIN,
        model=msgspec.structs.replace(model, size_bytes=size_bytes),
        aggregator_key=bytes(range(32)),
        deadline_at=0.0,
    )
    return encode(made)


def altered(site: Site) -> Letter:
    topic, payload = signed(greeting())(site)
    return Letter(topic, payload[:-1] + bytes([payload[-1] ^ 1]))


def by_a_stranger(site: Site) -> Letter:
    return signed(greeting(), signer=holder(new_authority(), AGGREGATOR))(site)


def by_a_site(site: Site) -> Letter:
    return signed(greeting(), signer=holder(site.clinic.authority, Identity(Role.SITE, "clinic-b")))(site)


def replayed(site: Site) -> Letter:
    return Letter(ROUND, site.heard)


CASES = [
    Case(
        "no envelope",
        lambda _: Letter(HELLO, b"\xff\x00 not a message"),
        (
            "refused a message on fedagent/v1/down/clinic-a/hello: Expected `object`, got `int` (at $) [FA3601]",
        ),
    ),
    Case(
        "nothing",
        lambda _: Letter(HELLO, b""),
        ("refused a message on fedagent/v1/down/clinic-a/hello: Input data was truncated (at $) [FA3601]",),
    ),
    Case(
        "an unknown topic",
        lambda _: Letter("fedagent/v1/down/clinic-a/secrets", b""),
        (
            "refused a message on fedagent/v1/down/clinic-a/secrets: topic 'fedagent/v1/down/clinic-a/secrets' is not one of fedagent/v1 (at topic) [FA3601]",
        ),
    ),
    Case(
        "no message in it",
        signed(b"\xc1"),
        (
            "refused a message on fedagent/v1/down/clinic-a/hello: MessagePack data is malformed: invalid opcode '\\xc1' (byte 0) (at $) [FA3601]",
        ),
    ),
    Case(
        "a message of another kind",
        signed(encode(Presence(online=True, version="1", protocol=1))),
        (
            "refused a message on fedagent/v1/down/clinic-a/hello: Invalid value 'presence' (at $.kind) [FA3601]",
        ),
    ),
    Case(
        "an unknown field",
        signed(msgspec.msgpack.encode({"kind": "hello", "version": "1", "protocol": 1, "x": 1})),
        (
            "refused a message on fedagent/v1/down/clinic-a/hello: Object contains unknown field `x` (at $) [FA3601]",
        ),
    ),
    Case(
        "an oversized message",
        lambda _: Letter(HELLO, bytes(2_000_000)),
        (
            "refused a message on fedagent/v1/down/clinic-a/hello: 2000000 bytes, allowed are 69888 (at $) [FA3601]",
        ),
    ),
    Case(
        "an altered signature",
        altered,
        (
            "refused a message on fedagent/v1/down/clinic-a/hello: the signature is not aggregator's for this topic and body (at $.signature) [FA3601]",
        ),
    ),
    Case(
        "signed for another topic",
        signed(greeting(), on=aggregator_topic("clinic-b", "hello"), topic=HELLO),
        (
            "refused a message on fedagent/v1/down/clinic-b/hello: the signature is not aggregator's for this topic and body (at $.signature) [FA3601]",
        ),
    ),
    Case(
        "for another site",
        signed(greeting(), aggregator_topic("clinic-b", "hello")),
        (
            "refused a message on fedagent/v1/down/clinic-b/hello: the message is for another site (at topic) [FA3601]",
        ),
    ),
    Case(
        "signed by a stranger",
        by_a_stranger,
        (
            "refused a message on fedagent/v1/down/clinic-a/hello: the authority did not sign the certificate (at certificate) [FA3601]",
        ),
    ),
    Case(
        "signed by a site",
        by_a_site,
        (
            "refused a message on fedagent/v1/down/clinic-a/hello: site clinic-b may not speak on this topic (at topic) [FA3601]",
        ),
    ),
    Case("a replayed message", replayed, ()),
    Case(
        "a receipt for an unknown study",
        signed(
            encode(Receipt(study="another", round=1, blob=bytes(32))),
            aggregator_topic(SITE, "receipt", IDENTITY.name),
        ),
        (
            "refused a message on fedagent/v1/down/clinic-a/transfer/receipt: the message is about study 'another', the topic about 'transfer' (at $.study) [FA3601]",
        ),
    ),
    Case(
        "a model of more than a terabyte",
        signed(
            announced(1).replace(b"size_bytes\x01", b"size_bytes" + msgspec.msgpack.encode(TERABYTE + 1)),
            ROUND,
        ),
        (
            "refused a message on fedagent/v1/all/transfer/round: Expected `int` <= 1099511627776 (at $.model.size_bytes) [FA3601]",
        ),
    ),
]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    made.hears_round(3)
    yield made
    made.daemon._database.close()


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])
def test_a_wrong_message_is_a_line_and_changes_nothing(
    site: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, case: Case
) -> None:
    letter = case.write(site)
    studies, record, blobs = site.daemon.state.studies, site.daemon.state.record, site.daemon._blobs.digests()
    acknowledged: list[Arrived] = []
    monkeypatch.setattr(site.daemon._link, "acknowledge", acknowledged.append)
    caplog.clear()
    site.daemon._put(Arrived(topic=letter.topic, payload=letter.payload, mid=1, qos=1))
    site.daemon._take(site.daemon._inbox.get_nowait())
    assert site.daemon.state.studies == studies
    assert (
        msgspec.structs.replace(site.daemon.state.record, error=None) == record
    )  # it is shown as the last error
    assert site.daemon._blobs.digests() == blobs
    assert len(acknowledged) == 1
    assert tuple(caplog.messages) == case.lines
