# SPDX-License-Identifier: Apache-2.0
"""Who may say what where."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedagent.errors import WireError
from fedagent.wire import messages as m
from fedagent.wire import topics as t
from fedagent.wire.values import RESERVED_NAMES
from tests.fakes.examples import AGGREGATOR_MESSAGES, SITE_MESSAGES, named

SITE, STUDY, BLOB = "clinic-a", "heart-1", bytes(range(32))


def up(kind: str, study: str | None) -> t.Address:
    return t.Address(role=t.Role.SITE, sender=SITE, kind=kind, study=study, site=SITE)


def down(kind: str, study: str | None, site: str | None) -> t.Address:
    return t.Address(role=t.Role.AGGREGATOR, sender="aggregator", kind=kind, study=study, site=site)


TOPICS = [
    ("all/heart-1/round", down("round", STUDY, None), m.Announcement),
    ("up/clinic-a/presence", up("presence", None), m.Presence),
    ("up/clinic-a/instance", up("instance", None), m.Instance),
    ("up/clinic-a/hello", up("hello", None), m.SiteHello),
    ("up/clinic-a/heart-1/join", up("join", STUDY), m.Join),
    ("up/clinic-a/heart-1/want", up("want", STUDY), m.Want),
    ("up/clinic-a/heart-1/manifest", up("manifest", STUDY), m.UpdateOffer),
    ("up/clinic-a/heart-1/progress", up("progress", STUDY), m.Progress),
    ("up/clinic-a/heart-1/decline", up("decline", STUDY), m.Decline),
    ("down/clinic-a/hello", down("hello", None, SITE), m.AggregatorHello),
    ("down/clinic-a/twin", down("twin", None, SITE), m.Twin),
    ("down/clinic-a/heart-1/model-key", down("model-key", STUDY, SITE), m.ModelKey),
    ("down/clinic-a/heart-1/grant", down("grant", STUDY, SITE), m.Grant),
    ("down/clinic-a/heart-1/receipt", down("receipt", STUDY, SITE), m.Receipt),
    ("down/clinic-a/heart-1/refusal", down("refusal", STUDY, SITE), m.Refusal),
    ("down/clinic-a/heart-1/cancel", down("cancel", STUDY, SITE), m.Cancel),
]


def test_a_site_subscribes_to_all_that_is_for_it_and_to_nothing_of_others() -> None:
    assert t.aggregator_branch(SITE) == "fedagent/v1/down/clinic-a/#"


@pytest.mark.parametrize(("topic", "address", "message"), TOPICS)
def test_a_topic_says_sender_and_message(topic: str, address: t.Address, message: type[m.Message]) -> None:
    assert t.parse(f"fedagent/v1/{topic}") == address
    assert t.message_type(address) is message
    assert t.limit_bytes(address) == (t.OFFER_BYTES if message is m.UpdateOffer else t.CONTROL_BYTES)


def test_every_message_has_its_topic() -> None:
    assert {row[-1] for row in TOPICS} == {
        type(message) for message in (*SITE_MESSAGES, *AGGREGATOR_MESSAGES)
    }


@pytest.mark.parametrize(
    "message",
    [each for each in (*SITE_MESSAGES, *AGGREGATOR_MESSAGES) if not isinstance(each, m.Announcement)],
    ids=named,
)
def test_a_topic_is_written_as_it_is_read(message: m.Message) -> None:
    write = t.site_topic if message in SITE_MESSAGES else t.aggregator_topic
    address = t.parse(write(SITE, t.message_kind(message), getattr(message, "study", None)))
    assert t.message_type(address) is type(message)
    assert address.site == SITE


def test_the_topics_of_a_model_are_for_everyone() -> None:
    assert t.round_topic(STUDY) == "fedagent/v1/all/heart-1/round"
    assert t.chunk_topic(BLOB, 7) == f"fedagent/v1/all/blob/{BLOB.hex()}/7"
    assert t.manifest_topic(BLOB) == f"fedagent/v1/all/blob/{BLOB.hex()}/manifest"


def test_a_chunk_upwards_is_no_message() -> None:
    address = t.parse(t.site_topic(SITE, "chunk", STUDY))
    assert address.sender == SITE
    with pytest.raises(WireError, match="bytes, not messages"):
        t.message_type(address)


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "fedagent/v1/",
        "fedagent/v2/up/clinic-a/hello",
        "/fedagent/v1/up/clinic-a/hello",
        "fedagent/v1/up/clinic-a/hello/",
        "fedagent/v1/up/clinic-a",
        "fedagent/v1/up/clinic-a/join",
        "fedagent/v1/up/clinic-a/heart-1/hello",
        "fedagent/v1/up/clinic-a/heart-1/presence",
        "fedagent/v1/up/clinic-a/heart-1/receipt",
        "fedagent/v1/up/clinic-a/heart-1/chunk/0",
        "fedagent/v1/down/clinic-a/presence",
        "fedagent/v1/down/clinic-a/heart-1/join",
        "fedagent/v1/down/clinic-a/heart-1/hello",
        "fedagent/v1/all/heart-1/grant",
        "fedagent/v1/all/round",
        f"fedagent/v1/all/blob/{'00' * 32}/0",
        "fedagent/v1/up/+/hello",
        "fedagent/v1/up/#",
        "fedagent/v1/up/Clinic/hello",
        "fedagent/v1/up/clinic-a\n/hello",
        "fedagent/v1/up/clinic-a/Heart/join",
        "fedagent/v1/down/-/hello",
        "$SYS/broker/uptime",
    ],
)
def test_other_topics_are_not_ours(topic: str) -> None:
    with pytest.raises(WireError) as caught:
        t.parse(topic)
    assert caught.value.path == "topic"


@pytest.mark.parametrize("word", sorted(RESERVED_NAMES))
def test_no_topic_has_a_reserved_word_for_a_name(word: str) -> None:
    for topic in (t.round_topic(word), t.site_topic(word, "hello"), t.site_topic(SITE, "join", word)):
        with pytest.raises(WireError):
            t.parse(topic)


@given(st.text(max_size=80).map(lambda text: f"fedagent/v1/{text}") | st.text(max_size=80))
def test_any_text_is_an_address_or_a_wire_error(text: str) -> None:
    try:
        t.parse(text)
    except WireError:
        return
    assert text.startswith(t.PREFIX)
