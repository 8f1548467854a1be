# SPDX-License-Identifier: Apache-2.0
"""Every control message between a site and the aggregator.

Rule: a message says what is, not what changed, so that receiving it twice, late or again after a restart does no harm.
Each binds to its study and round (and, where it speaks of bytes, to their digest). A new message is a class here, a row
in ``wire/topics.py`` and golden bytes.
"""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from fedagent.wire.manifest import Manifest
from fedagent.wire.study import Study
from fedagent.wire.values import (
    ChunkBytes,
    ChunkIndex,
    Count,
    Digest,
    Finite,
    Instant,
    Name,
    PublicKey,
    RoundNumber,
    Sealed,
    Text,
    refuse_repeated,
)


class RoundKind(StrEnum):
    """What a round asks of a site."""

    TRAIN = "train"
    EVALUATE = "evaluate"
    ENDED = "ended"


class Reason(StrEnum):
    """Why a site does not take part, or why the aggregator will not take what it sent."""

    CRASHED = "crashed"
    OUT_OF_MEMORY = "out-of-memory"
    STUCK = "stuck"
    NO_SPACE = "no-space"
    NOT_FINITE = "not-finite"
    TOO_FEW_ROWS = "too-few-rows"
    NO_DATASET = "no-dataset"
    DATA_DOES_NOT_FIT = "data-does-not-fit"
    REVOKED = "revoked"
    GATE = "gate"
    NOT_A_MEMBER = "not-a-member"
    OTHER_STUDY = "other-study"
    ROUND_CLOSED = "round-closed"
    ALREADY_COUNTED = "already-counted"
    UNREADABLE = "unreadable"
    STUDY_STOPPED = "study-stopped"


class Message(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    kw_only=True,
    omit_defaults=True,
    tag_field="kind",
):
    """A control message; the tag is the last word of its topic."""


class StudyPosition(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True
):
    """Where a site stands in one study."""

    study: Name
    round: RoundNumber
    phase: Text
    update: Digest | None = None


# --- site to aggregator ---------------------------------------------------------------------------------------


class Presence(Message, frozen=True, tag="presence"):
    """Retained; also the last will (with ``online`` false)."""

    online: bool
    version: Text
    protocol: Count
    capabilities: Annotated[tuple[Text, ...], Meta(max_length=32)] = ()
    verdict: Text = ""
    reason: Text = ""
    training_expected_at: Instant | None = None


class Instance(Message, frozen=True, tag="instance"):
    """Before every hello: which start of the site's daemon this is."""

    instance: Digest


class SiteHello(Message, frozen=True, tag="hello"):
    """The site is connected, or has waited long enough to ask again; the aggregator re-sends what it needs."""

    version: Text
    protocol: Count
    positions: Annotated[tuple[StudyPosition, ...], Meta(max_length=256)] = ()


class Join(Message, frozen=True, tag="join"):
    """The site approved this study and takes part in this round; asks for the model's key."""

    study: Name
    round: RoundNumber
    study_digest: Digest
    trainer_key: PublicKey


class Want(Message, frozen=True, tag="want"):
    """The site has subscribed to these chunks' topics and lacks them; no chunks means the manifest itself."""

    study: Name
    blob: Digest
    chunks: Annotated[tuple[ChunkIndex, ...], Meta(max_length=1024)] = ()


class UpdateOffer(Message, frozen=True, tag="manifest"):
    """An update is sealed and durable at the site; asks for grants.

    Attributes:
        manifest: the update's chunks; an evaluation round's result has none.
        secret: ``UpdateSecret`` sealed to the aggregator's key: the blob's key, rows, metrics.
    """

    study: Name
    round: RoundNumber
    manifest: Manifest
    secret: Sealed


class Progress(Message, frozen=True, tag="progress"):
    """For people: how far the round is at this site."""

    study: Name
    round: RoundNumber
    phase: Text
    verdict: Text = ""
    step: Annotated[int, Meta(ge=0)] = 0
    steps: Annotated[int, Meta(ge=0)] = 0
    loss: float | None = None


class Decline(Message, frozen=True, tag="decline"):
    """The site will send no update for this round."""

    study: Name
    round: RoundNumber
    reason: Reason
    text: Text = ""


# --- aggregator to site -----------------------------------------------------------------------------------------


class Twin(Message, frozen=True, tag="twin"):
    """This instance of the site's daemon must stop: another one has used the site's identity since before it."""

    instance: Digest


class OpenStudy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A study that a site may hear of on ``all/<study>/round``."""

    study: Name
    round: RoundNumber


class AggregatorHello(Message, frozen=True, tag="hello"):
    """The aggregator is connected, or answers a site's hello: these studies name this site."""

    version: Text
    protocol: Count
    studies: Annotated[tuple[OpenStudy, ...], Meta(max_length=256)] = ()


class ModelReference(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A global model as a blob, verifiable without its manifest: cut the bytes and hash.

    Attributes:
        blob: digest of the manifest.
        size_bytes: of the ciphertext.
        plaintext: SHA-256 of the safetensors bytes: the model's own identity.
    """

    blob: Digest
    size_bytes: Annotated[int, Meta(ge=1, le=2**40)]
    chunk_bytes: ChunkBytes
    plaintext: Digest


class Announcement(Message, frozen=True, tag="announcement"):
    """Retained: the round that is open now. Also what the trainer's supervisor verifies before it trains."""

    study: Study
    round: RoundNumber
    round_kind: RoundKind
    model: ModelReference
    aggregator_key: PublicKey
    deadline_at: Instant


class ModelKey(Message, frozen=True, tag="model-key"):
    """The global model's key, sealed to the trainer's key of the ``Join``."""

    study: Name
    round: RoundNumber
    blob: Digest
    secret: Sealed


class Grant(Message, frozen=True, tag="grant"):
    """Chunks of the update that the aggregator wants next; it has durably stored ``stored`` of them already."""

    study: Name
    round: RoundNumber
    blob: Digest
    chunks: Annotated[tuple[ChunkIndex, ...], Meta(max_length=256)]
    stored: Annotated[int, Meta(ge=0)]


class Receipt(Message, frozen=True, tag="receipt"):
    """The aggregator has the whole update durably: the site may delete it."""

    study: Name
    round: RoundNumber
    blob: Digest


class Refusal(Message, frozen=True, tag="refusal"):
    """The aggregator will not take this site's part in the round: the site deletes its update."""

    study: Name
    round: RoundNumber
    reason: Reason
    text: Text = ""


class Cancel(Message, frozen=True, tag="cancel"):
    """The round will not be finished: the site stops its work on it."""

    study: Name
    round: RoundNumber
    reason: Reason
    text: Text = ""


SiteMessage = Presence | Instance | SiteHello | Join | Want | UpdateOffer | Progress | Decline
AggregatorMessage = AggregatorHello | Twin | Announcement | ModelKey | Grant | Receipt | Refusal | Cancel


# --- sealed contents ----------------------------------------------------------------------------------------------


class MetricValue(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One metric over ``count`` patients' rows; the gate lets none pass below the study's minimum cell."""

    name: Text
    value: Finite
    count: Annotated[int, Meta(ge=0)]


class UpdateSecret(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the gate seals to the aggregator with each update: nobody between reads it.

    Attributes:
        key: AES-256-GCM key of the blob (32 bytes); unused where the blob is empty.
        rows: training rows, the update's weight.
        metrics: of the *received* global model on the site's test rows, and the training loss.
    """

    key: Digest
    rows: Annotated[int, Meta(ge=0)]
    snapshot: Digest
    metrics: Annotated[tuple[MetricValue, ...], Meta(max_length=32)]

    def __post_init__(self) -> None:
        refuse_repeated("metric", (metric.name for metric in self.metrics))
