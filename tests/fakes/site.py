# SPDX-License-Identifier: Apache-2.0
"""Sites in memory that speak the protocol to a real aggregator, over a broker that is a dictionary.

A site follows its studies as a daemon does: hello, join, fetch the model in chunks, train (the identity task), offer,
send what is granted. What it does wrong is what a test asks for.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import numpy as np

from fedagent.conditions.broker import BROKER_CLOSED
from fedagent.conditions.condition import Said
from fedagent.security.blob import BlobCipher, new_blob_key
from fedagent.security.certificates import Signer, Trust
from fedagent.security.mail import open_mail, seal
from fedagent.security.sealing import model_key_context, new_private_key, public_key, unseal, update_context
from fedagent.security.sealing import seal as seal_secret
from fedagent.transport.events import Arrived, Connected, Disconnected, MqttEvent
from fedagent.transport.outage import LinkStatus
from fedagent.wire import messages as m
from fedagent.wire import topics as t
from fedagent.wire.codec import decode, encode
from fedagent.wire.manifest import Manifest, blob_digest, chunk_message, describe
from fedagent.wire.study import Identity as IdentityTask
from fedagent.wire.study import Study, model_shapes, study_digest
from fedagent.wire.tensors import encode_header
from tests.fakes.clinic import encrypt


class MemoryLink:
    """The aggregator's connection: what it publishes goes to the sites that subscribed, retained messages stay."""

    def __init__(self, on_event: Callable[[MqttEvent], None]) -> None:
        self._on_event = on_event
        self.connected = False
        self.unacknowledged = 0
        self.on_room: Callable[[], None] = lambda: None
        self.retained: dict[str, bytes] = {}
        self.subscribed: list[str] = []
        self.acknowledged: list[int] = []
        self.renewals: list[Said] = []
        self.sites: list[FakeSite] = []
        self.changed = asyncio.Event()
        self._sent = 0

    @property
    def status(self) -> LinkStatus:
        return LinkStatus(connected=self.connected, reason="" if self.connected else "cut", since=0.0)

    async def until(self, happened: Callable[[], bool]) -> None:
        """Returns once it has happened; looks again after each thing that the aggregator said or acknowledged."""
        while not happened():
            self.changed.clear()
            await self.changed.wait()

    async def run(self) -> None:
        self.connect()
        try:
            await asyncio.Event().wait()
        finally:
            self.connected = False

    def connect(self) -> None:
        self.connected = True
        self.changed.set()
        self._on_event(Connected(max_packet_bytes=None))

    def cut(self) -> None:
        """The broker is gone, with all that it held."""
        self.connected = False
        self.retained.clear()
        self._on_event(Disconnected(reason=BROKER_CLOSED(where="broker:8883")))

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        if not self.connected:
            return
        self.changed.set()
        if retain:
            self.retained[topic] = payload
        for site in self.sites:
            if topic in site.subscribed or topic.startswith(f"{t.PREFIX}down/{site.name}/"):
                site.hear(topic, payload)

    def subscribe(self, topics: Sequence[str]) -> None:
        self.subscribed += topics

    def unsubscribe(self, topics: Sequence[str]) -> None:
        pass

    def acknowledge(self, event: Arrived) -> None:
        self.acknowledged.append(event.mid)
        self.changed.set()

    def renew(self, reason: Said) -> None:
        self.renewals.append(reason)

    def up(self, topic: str, payload: bytes) -> None:
        """From a site to the aggregator."""
        self._sent += 1
        if self.connected:
            self._on_event(Arrived(topic=topic, payload=payload, mid=self._sent, qos=1))


class FakeSite:
    """One hospital. Tests set what it does differently before it says hello."""

    def __init__(self, signer: Signer, trust: Trust, *, rows: int = 100) -> None:
        self.name, self.rows = signer.identity.name, rows
        self.signer, self._trust = signer, trust
        self._sequence = time.time_ns()
        self.trainer_key = new_private_key()
        self.link: MemoryLink | None = None
        self.subscribed: set[str] = set()
        self.heard: list[m.Message] = []
        self.announcement: m.Announcement | None = None
        self.round_changed = asyncio.Event()
        self.metrics: tuple[m.MetricValue, ...] = (m.MetricValue(name="loss", value=1.0, count=rows),)
        self.decline: m.Reason | None = None
        self.offers, self.sends, self.spoils = True, True, False
        self.values: float | None = None
        self.model: np.ndarray | None = None
        self._key: bytes | None = None
        self._chunks: dict[int, bytes] = {}
        self._update: list[bytes] = []
        self._offer: m.UpdateOffer | None = None
        self._delivered = False

    # --- what it says -----------------------------------------------------------------------------------------------

    def connect(self, link: MemoryLink) -> None:
        """Joins the broker and says hello."""
        self.link = link
        if self not in link.sites:
            link.sites.append(self)
        self.hello()

    def hello(self) -> None:
        position: tuple[m.StudyPosition, ...] = ()
        if self.announcement is not None:
            update = blob_digest(self._offer.manifest) if self._offer and not self._delivered else None
            position = (
                m.StudyPosition(
                    study=self.announcement.study.name,
                    round=self.announcement.round,
                    phase="x",
                    update=update,
                ),
            )
        self.say(m.SiteHello(version="0.1.0", protocol=1, positions=position))

    def say(self, message: m.Message, *, topic: str | None = None) -> bytes:
        study: str | None = getattr(message, "study", None)
        where = topic or t.site_topic(self.name, t.message_kind(message), study)
        self._sequence += 1
        payload = seal(message, topic=where, sequence=self._sequence, signer=self.signer)
        self.send(where, payload)
        return payload

    def send(self, topic: str, payload: bytes) -> None:
        assert self.link is not None
        self.link.up(topic, payload)

    # --- what it hears ----------------------------------------------------------------------------------------------

    def hear(self, topic: str, payload: bytes) -> None:
        if topic.startswith(f"{t.PREFIX}all/blob/"):
            self._hear_blob(topic, payload)
            return
        mail = open_mail(payload, topic=topic, trust=self._trust, now=datetime.now(UTC))
        self.heard.append(mail.message)
        match mail.message:
            case m.AggregatorHello(studies=studies):
                for each in studies:
                    self._follow(each.study)
            case m.Announcement() as announcement:
                self._hear_announcement(announcement)
            case m.ModelKey() as key:
                self._hear_key(key)
            case m.Grant() as grant:
                self._hear_grant(grant)
            case m.Receipt():
                self._delivered = True
            case _:
                pass

    def _follow(self, study: str) -> None:
        assert self.link is not None
        topic = t.round_topic(study)
        if topic not in self.subscribed:
            self.subscribed.add(topic)
            if topic in self.link.retained:
                self.hear(topic, self.link.retained[topic])

    def _hear_announcement(self, announcement: m.Announcement) -> None:
        known = self.announcement
        self.announcement = announcement
        self.round_changed.set()
        if known is not None and (known.round, known.model) == (announcement.round, announcement.model):
            return
        self._chunks, self._offer, self._delivered, self._key = {}, None, False, None
        if announcement.round_kind is m.RoundKind.ENDED:
            return
        if self.decline is not None:
            self.say(m.Decline(study=announcement.study.name, round=announcement.round, reason=self.decline))
        else:
            self.join()

    def join(self) -> None:
        assert self.announcement is not None
        study = self.announcement.study
        self.say(
            m.Join(
                study=study.name,
                round=self.announcement.round,
                study_digest=study_digest(study),
                trainer_key=public_key(self.trainer_key),
            )
        )

    def _hear_key(self, key: m.ModelKey) -> None:
        if self._key is not None or self.announcement is None or key.blob != self.announcement.model.blob:
            return
        context = model_key_context(key.study, key.round, self.name, key.blob)
        self._key = unseal(self.trainer_key, key.secret, context=context)
        self.subscribed.add(t.manifest_topic(key.blob))
        self.say(m.Want(study=key.study, blob=key.blob))

    def _hear_blob(self, topic: str, payload: bytes) -> None:
        announcement, what = self.announcement, topic.rsplit("/", 1)[1]
        if announcement is None or announcement.model.blob.hex() not in topic or self._offer is not None:
            return
        blob, count = (
            announcement.model.blob,
            -(-announcement.model.size_bytes // announcement.model.chunk_bytes),
        )
        if what == "manifest":
            assert blob_digest(decode(payload, Manifest, limit_bytes=655_360)) == blob
            self.subscribed.update(t.chunk_topic(blob, index) for index in range(count))
            self.say(m.Want(study=announcement.study.name, blob=blob, chunks=tuple(range(count))))
            return
        self._chunks[int(what)] = payload
        if len(self._chunks) == count and self._key is not None:
            self._train(announcement, BlobCipher(self._key), count)

    def _hear_grant(self, grant: m.Grant) -> None:
        if not self.sends or self._offer is None or grant.blob != blob_digest(self._offer.manifest):
            return
        for index in grant.chunks:
            payload = chunk_message(grant.blob, index, self._update[index])
            self.send(t.site_topic(self.name, "chunk", grant.study), payload)

    # --- what it does -------------------------------------------------------------------------------------------------

    def _train(self, announcement: m.Announcement, cipher: BlobCipher, count: int) -> None:
        plain = b"".join(
            cipher.decrypt(index, last=index == count - 1, chunk=self._chunks[index])
            for index in range(count)
        )
        header = encode_header(model_shapes(announcement.study.task))
        assert plain.startswith(header)
        self.model = np.frombuffer(plain, dtype="<f4", offset=len(header))
        update = (
            b""
            if announcement.round_kind is m.RoundKind.EVALUATE
            else header + self._values(announcement.study)
        )
        key = new_blob_key()
        self._update = encrypt(update, key, announcement.study.chunk_bytes)
        manifest = describe(self._update, announcement.study.chunk_bytes)
        secret = m.UpdateSecret(
            key=bytes(32) if self.spoils else key, rows=self.rows, snapshot=bytes(32), metrics=self.metrics
        )
        context = update_context(announcement.study.name, announcement.round, self.name)
        self._offer = m.UpdateOffer(
            study=announcement.study.name,
            round=announcement.round,
            manifest=manifest,
            secret=seal_secret(announcement.aggregator_key, encode(secret), context=context),
        )
        if self.offers:
            self.say(self._offer)

    def offer_now(self) -> None:
        """Sends the offer that was held back, or the same again."""
        assert self._offer is not None
        self.say(self._offer)

    def _values(self, study: Study) -> bytes:
        assert isinstance(study.task, IdentityTask)
        value = study.task.increment if self.values is None else self.values
        return np.full(study.task.parameters, value, dtype="<f4").tobytes()
