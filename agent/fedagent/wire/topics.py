# SPDX-License-Identifier: Apache-2.0
"""Every topic below ``fedagent/v1/``: who may send what on it, and how long it may be.

Rule: a topic is exact; the sender's role and name are read from the topic and compared with its certificate.
"""

from enum import StrEnum
from typing import Final

import msgspec

from fedagent.conditions.messages import BAD_NAME_IN_TOPIC, NO_MESSAGES_THERE, NO_TOPIC
from fedagent.errors import WireError
from fedagent.wire import messages as m
from fedagent.wire.values import Name, refuse_reserved

PREFIX: Final = "fedagent/v1/"
CONTROL_BYTES: Final = 65_536
OFFER_BYTES: Final = 655_360
"""An update's offer carries its manifest: 32 bytes a chunk."""


class Role(StrEnum):
    """What a certificate makes its holder."""

    SITE = "site"
    AGGREGATOR = "aggregator"
    CA = "ca"


class Address(msgspec.Struct, frozen=True):
    """A parsed topic. ``sender`` is the name that the certificate must carry."""

    role: Role
    sender: str
    kind: str
    study: str | None = None
    site: str | None = None


_SITE_KINDS: Final[dict[str, type[m.Message]]] = {
    "presence": m.Presence,
    "instance": m.Instance,
    "hello": m.SiteHello,
    "join": m.Join,
    "want": m.Want,
    "manifest": m.UpdateOffer,
    "progress": m.Progress,
    "decline": m.Decline,
}
_AGGREGATOR_KINDS: Final[dict[str, type[m.Message]]] = {
    "hello": m.AggregatorHello,
    "twin": m.Twin,
    "model-key": m.ModelKey,
    "grant": m.Grant,
    "receipt": m.Receipt,
    "refusal": m.Refusal,
    "cancel": m.Cancel,
}
_WITHOUT_STUDY: Final = frozenset({"presence", "instance", "hello", "twin"})


def round_topic(study: str) -> str:
    """Where a study's open round is announced, retained."""
    return f"{PREFIX}all/{study}/round"


def chunk_topic(blob: bytes, index: int) -> str:
    """Where one chunk of a global model is published when somebody asked."""
    return f"{PREFIX}all/blob/{blob.hex()}/{index}"


def manifest_topic(blob: bytes) -> str:
    """Where a global model's manifest is published when somebody asked."""
    return f"{PREFIX}all/blob/{blob.hex()}/manifest"


def site_topic(site: str, kind: str, study: str | None = None) -> str:
    """Where a site speaks."""
    return f"{PREFIX}up/{site}/{study}/{kind}" if study else f"{PREFIX}up/{site}/{kind}"


def aggregator_topic(site: str, kind: str, study: str | None = None) -> str:
    """Where the aggregator speaks to one site."""
    return f"{PREFIX}down/{site}/{study}/{kind}" if study else f"{PREFIX}down/{site}/{kind}"


def aggregator_branch(site: str) -> str:
    """The one filter with a wildcard that a site subscribes to: all that is for it alone."""
    return f"{PREFIX}down/{site}/#"


def message_kind(message: m.Message) -> str:
    """The last word of the message's topic."""
    kind = message.__struct_config__.tag
    return kind if isinstance(kind, str) else ""


def parse(topic: str) -> Address:
    """Who may speak on this control topic.

    Raises:
        WireError: not a control topic of ours.
    """
    match topic.removeprefix(PREFIX).split("/") if topic.startswith(PREFIX) else []:
        case ["all", study, "round"]:
            return Address(role=Role.AGGREGATOR, sender="aggregator", kind="round", study=_name(study, topic))
        case ["up", site, ("presence" | "instance" | "hello") as kind]:
            return Address(role=Role.SITE, sender=_name(site, topic), kind=kind, site=site)
        case ["down", site, ("hello" | "twin") as kind]:
            return Address(role=Role.AGGREGATOR, sender="aggregator", kind=kind, site=_name(site, topic))
        case ["up", site, study, kind] if kind in _SITE_KINDS.keys() - _WITHOUT_STUDY or kind == "chunk":
            _name(site, topic)
            return Address(role=Role.SITE, sender=site, kind=kind, study=_name(study, topic), site=site)
        case ["down", site, study, kind] if kind in _AGGREGATOR_KINDS.keys() - _WITHOUT_STUDY:
            return Address(
                role=Role.AGGREGATOR,
                sender="aggregator",
                kind=kind,
                study=_name(study, topic),
                site=_name(site, topic),
            )
        case _:
            raise WireError(NO_TOPIC(topic=topic[:200]), "topic")


def message_type(address: Address) -> type[m.Message]:
    """The one class of message that this topic carries.

    Raises:
        WireError: it carries chunks.
    """
    if address.kind == "round":
        return m.Announcement
    kinds = _SITE_KINDS if address.role is Role.SITE else _AGGREGATOR_KINDS
    if address.kind not in kinds:
        raise WireError(NO_MESSAGES_THERE(kind=address.kind), "topic")
    return kinds[address.kind]


def limit_bytes(address: Address) -> int:
    """The longest control message, without its envelope, on this topic."""
    return OFFER_BYTES if address.kind == "manifest" else CONTROL_BYTES


def _name(text: str, topic: str) -> str:
    try:
        refuse_reserved([msgspec.convert(text, Name)])
    except ValueError as error:  # msgspec.ValidationError is one
        raise WireError(BAD_NAME_IN_TOPIC(topic=topic[:200]), "topic") from error
    return text
