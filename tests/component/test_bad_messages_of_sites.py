# SPDX-License-Identifier: Apache-2.0
"""Messages of sites that are wrong: the aggregator says one line for each, acknowledges it, and its round is as it was."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from fedagent.aggregator.rounds import Round
from fedagent.aggregator.tables import PartPhase
from fedagent.security.certificates import Signer
from fedagent.security.envelope import sign
from fedagent.security.identity import Identity
from fedagent.wire import messages as m
from fedagent.wire.codec import encode
from fedagent.wire.manifest import Manifest
from fedagent.wire.study import study_digest
from fedagent.wire.topics import Role, site_topic
from tests.fakes.certificates import FakeAuthority
from tests.fakes.clinic import holder, new_authority
from tests.fakes.site import FakeSite
from tests.fakes.study_centre import Centre, study

SITE = "clinic-a"
TERABYTE = 2**40
HELLO = site_topic(SITE, "hello")
JOIN = site_topic(SITE, "join", "transfer")
OFFER = site_topic(SITE, "manifest", "transfer")
GREETING = encode(m.SiteHello(version="1", protocol=1))
MANIFEST = Manifest(size_bytes=100, chunk_bytes=65_536, chunks=(bytes(32),))


class Case(NamedTuple):
    """What arrives on which topic, by whom it is signed, and the line without "refused a message on …"."""

    name: str
    topic: str
    body: bytes
    line: str
    signer: Callable[[FakeAuthority], Signer] | None = None


def join(**changes: object) -> bytes:
    made = m.Join(
        study="transfer", round=1, study_digest=study_digest(study()), trainer_key=b"\x09" + bytes(31)
    )
    return encode(msgspec.structs.replace(made, **changes))


def offer(manifest: Manifest = MANIFEST, secret: bytes = bytes(48)) -> bytes:
    return encode(m.UpdateOffer(study="transfer", round=1, manifest=manifest, secret=secret))


def huge() -> bytes:
    return offer().replace(b"size_bytes\x64", b"size_bytes" + msgspec.msgpack.encode(TERABYTE + 1))


def of_another_site(authority: FakeAuthority) -> Signer:
    return holder(authority, Identity(Role.SITE, "clinic-b"))


def of_a_stranger(_: FakeAuthority) -> Signer:
    return holder(new_authority(), Identity(Role.SITE, SITE))


CASES = [
    Case(
        "no message", HELLO, b"\xc1", "MessagePack data is malformed: invalid opcode '\\xc1' (byte 0) (at $)"
    ),
    Case("a message of another kind", HELLO, join(), "Invalid value 'join' (at $.kind)"),
    Case(
        "an unknown field",
        HELLO,
        msgspec.msgpack.encode({"kind": "hello", "version": "1", "protocol": 1, "x": 1}),
        "Object contains unknown field `x` (at $)",
    ),
    Case(
        "another site's pen",
        HELLO,
        GREETING,
        "site clinic-b may not speak on this topic (at topic)",
        of_another_site,
    ),
    Case(
        "a stranger's pen",
        HELLO,
        GREETING,
        "the authority did not sign the certificate (at certificate)",
        of_a_stranger,
    ),
    Case(
        "another study than the topic's",
        JOIN,
        join(study="lung"),
        "the message is about study 'lung', the topic about 'transfer' (at $.study)",
    ),
    Case(
        "a key that is none",
        JOIN,
        join(trainer_key=bytes(32)),
        "the recipient's public key is no X25519 key (at public_key)",
    ),
    Case(
        "a manifest of more than a terabyte",
        OFFER,
        huge(),
        "Expected `int` <= 17179869184 (at $.manifest.size_bytes)",
    ),
    Case(
        "a manifest without its chunks",
        OFFER,
        offer().replace(b"size_bytes\x64", b"size_bytes" + msgspec.msgpack.encode(200_000)),
        "1 chunk digests do not cover 200000 bytes (at $.manifest)",
    ),
]


def test_a_wrong_message_of_a_site_is_one_line_and_changes_no_round(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    centre = Centre(tmp_path)
    site = centre.sites[SITE]
    site.offers = False
    said: dict[str, list[str]] = {}

    async def script() -> None:
        async with centre.running():
            await centre.begin(study())
            await centre.until_part(SITE, PartPhase.JOINED)
            before = round_of(centre)
            for number, case in enumerate(CASES):
                caplog.clear()
                send(centre, site, case, number)
                await acknowledged(centre, len(centre.link.acknowledged) + 1)
                said[case.name] = list(caplog.messages)
                assert round_of(centre) == before, case.name

    asyncio.run(script())
    assert said == {case.name: [f"refused a message on {case.topic}: {case.line} [FA3601]"] for case in CASES}


async def acknowledged(centre: Centre, count: int) -> None:
    await centre.link.until(lambda: len(centre.link.acknowledged) >= count)


def round_of(centre: Centre) -> Round | None:
    store = centre.store()
    try:
        return store.round("transfer", 1)
    finally:
        store.close()


def send(centre: Centre, site: FakeSite, case: Case, number: int) -> None:
    signer = case.signer(centre.authority) if case.signer else site.signer
    sequence = site._sequence + 10 + number
    site.send(case.topic, sign(case.body, topic=case.topic, sequence=sequence, signer=signer))
