# SPDX-License-Identifier: Apache-2.0
"""A broker and its network in memory: it delivers, or drops, repeats, delays, reorders, forgets, as a test says.

Signatures and seals are plain here (``plain_cryptography``), with all checks of who may say what to whom; everything that a
party makes durable or says passes ``Network.act``, where it may die.
"""

import random
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import msgspec
import pytest

from fedagent.conditions.broker import BROKER_CLOSED
from fedagent.conditions.condition import Said
from fedagent.errors import WireError
from fedagent.security.certificates import Signer, Trust
from fedagent.security.envelope import Verified
from fedagent.security.identity import Identity
from fedagent.transport.events import Arrived, Connected, Disconnected, MqttEvent
from fedagent.wire.topics import PREFIX, Role

AGGREGATOR: Final = "aggregator"
QUEUE: Final = 200
"""Messages that the broker keeps for one client; what comes then is dropped, as Mosquitto does."""

RECEIVE_MAXIMUM: Final = 16
"""Messages that the broker sends before one is acknowledged."""


class Died(BaseException):
    """The process is gone, whatever it was doing."""


class Packet(msgspec.Struct):
    """A message at the broker, until the client acknowledges it; ``sent`` is the connection that it went out on."""

    number: int
    topic: str
    payload: bytes
    sent: int = 0


class Weather(msgspec.Struct, frozen=True):
    """How often in a thousand times a message is dropped, repeated, overtaken."""

    drops: int = 0
    repeats: int = 0
    reorders: int = 0


CALM: Final = Weather()


class Session:
    """What the broker keeps for a client; outlives connections, not the broker's own end."""

    def __init__(self) -> None:
        self.queue: list[Packet] = []
        self.topics: set[str] = set()

    def hears(self, topic: str) -> bool:
        return topic in self.topics or any(
            topic.startswith(each[:-1]) for each in self.topics if each[-1] == "#"
        )


class NetworkLink:
    """A party's connection, as ``MqttLink`` has it."""

    def __init__(self, network: "Network", name: str, on_event: Callable[[MqttEvent], None]) -> None:
        self._network, self.name, self.on_event = network, name, on_event
        self.will: Callable[[], tuple[str, bytes]] | None = None
        self.on_room: Callable[[], None] = lambda: None
        self.unacknowledged = 0
        self.connected = False
        self.number = 0
        self.last_will: tuple[str, bytes] | None = None

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self._network.act(self.name)
        if self.connected:
            self._network.publish(topic, payload, retain=retain)

    def subscribe(self, topics: Sequence[str]) -> None:
        if self.connected:
            self._network.subscribe(self.name, topics)

    def unsubscribe(self, topics: Sequence[str]) -> None:
        if self.connected:
            self._network.session(self.name).topics.difference_update(topics)

    def acknowledge(self, event: Arrived) -> None:
        self._network.act(self.name)
        if self.connected and event.mid >> 16 == self.number:
            queue = self._network.session(self.name).queue
            queue[:] = [each for each in queue if each.number != event.mid & 0xFFFF]

    def renew(self, reason: Said) -> None:
        self._network.cut(self.name)

    async def run(self) -> None:
        raise NotImplementedError


class Network:
    """The broker, the clients' links, and who of them dies when."""

    def __init__(self) -> None:
        self.links: dict[str, NetworkLink] = {}
        self.weather = CALM
        self.random = random.Random(0)
        self.up = True
        self._sessions: dict[str, Session] = {}
        self._retained: dict[str, bytes] = {}
        self._numbers: dict[str, int] = {}
        self._packets = 0
        self._dooms: dict[str, int] = {}

    # --- deaths -----------------------------------------------------------------------------------------------------

    def doom(self, name: str, actions: int) -> None:
        """The party dies at its so-manieth durable effect or word from now."""
        self._dooms[name] = actions

    def spare(self, name: str | None = None) -> None:
        """This party will not die of that, or none."""
        if name is None:
            self._dooms.clear()
        else:
            self._dooms.pop(name, None)

    def act(self, name: str) -> None:
        """The party is about to make something durable, has made it so, or says something."""
        if name not in self._dooms:
            return
        self._dooms[name] -= 1
        if self._dooms[name] <= 0:
            raise Died(name)

    # --- connections --------------------------------------------------------------------------------------------------

    def attach(self, name: str, on_event: Callable[[MqttEvent], None]) -> NetworkLink:
        """The link of a party that has just started."""
        link = self.links[name] = NetworkLink(self, name, on_event)
        return link

    def detach(self, name: str) -> None:
        """The party is gone without a word: the broker publishes its will."""
        link = self.links.pop(name, None)
        if link is not None:
            self._lose(link)

    def connect(self, name: str) -> None:
        link = self.links[name]
        if not self.up or link.connected:
            return
        self._numbers[name] = link.number = self._numbers.get(name, 0) + 1
        link.last_will = link.will() if link.will else None
        link.connected = True
        link.on_event(Connected(max_packet_bytes=None))

    def cut(self, name: str) -> None:
        link = self.links.get(name)
        if link is not None and link.connected:
            self._lose(link)
            link.on_event(Disconnected(reason=BROKER_CLOSED(where="broker:8883")))

    def wipe(self) -> None:
        """The broker dies and forgets all that it had."""
        for name in list(self.links):
            self.cut(name)
        self._sessions.clear()
        self._retained.clear()

    def _lose(self, link: NetworkLink) -> None:
        link.connected = False
        if link.last_will is not None:
            self.publish(*link.last_will, retain=True)
            link.last_will = None

    # --- messages -----------------------------------------------------------------------------------------------------

    def session(self, name: str) -> Session:
        return self._sessions.setdefault(name, Session())

    def publish(self, topic: str, payload: bytes, *, retain: bool) -> None:
        if self._chance(self.weather.drops):
            return
        if retain:
            self._retained[topic] = payload
        for _ in range(1 + self._chance(self.weather.repeats)):
            for session in self._sessions.values():
                if session.hears(topic):
                    self._queue(session, topic, payload)

    def subscribe(self, name: str, topics: Sequence[str]) -> None:
        session = self.session(name)
        session.topics.update(topics)
        for topic in topics:
            assert topic.startswith((f"{PREFIX}up/", f"{PREFIX}down/{name}/", f"{PREFIX}all/")), topic
            for kept, payload in list(self._retained.items()):
                if kept == topic or (topic[-1] == "#" and kept.startswith(topic[:-1])):
                    self._queue(session, kept, payload)

    def waiting(self) -> list[str]:
        """The connected clients for which the broker has a message to send."""
        return [name for name in self.links if self.waits(name)]

    def away(self) -> list[str]:
        """The clients that are not connected."""
        return [name for name, link in self.links.items() if not link.connected]

    def waits(self, name: str) -> bool:
        link = self.links[name]
        queue = self.session(name).queue if link.connected else ()
        sent = sum(each.sent == link.number for each in queue)
        return sent < min(RECEIVE_MAXIMUM, len(queue))

    def deliver(self, name: str) -> None:
        """Hands the client its next message, or another one, if messages overtake."""
        link = self.links[name]
        unsent = self._unsent(name, link.number)
        overtaken = self._chance(self.weather.reorders)
        packet = self.random.choice(unsent) if overtaken else unsent[0]
        packet.sent = link.number
        link.on_event(
            Arrived(topic=packet.topic, payload=packet.payload, mid=link.number << 16 | packet.number, qos=1)
        )

    def _unsent(self, name: str, number: int) -> list[Packet]:
        return [packet for packet in self.session(name).queue if packet.sent != number]

    def _queue(self, session: Session, topic: str, payload: bytes) -> None:
        if len(session.queue) < QUEUE:
            self._packets += 1
            session.queue.append(Packet(self._packets & 0xFFFF, topic, payload))

    def _chance(self, in_a_thousand: int) -> bool:
        return in_a_thousand > 0 and self.random.randrange(1000) < in_a_thousand


# --- cryptography that costs nothing -----------------------------------------------------------------------------------


class PlainSigner:
    """Whoever has it is that identity."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity


class _Envelope(msgspec.Struct, frozen=True, array_like=True):
    topic: str
    sequence: int
    role: Role
    name: str
    body: bytes


class _Seal(msgspec.Struct, frozen=True, array_like=True):
    key: bytes
    context: bytes
    plaintext: bytes
    padding: bytes = bytes(48)


def sign(body: bytes, *, topic: str, sequence: int, signer: Signer) -> bytes:
    who = signer.identity
    return msgspec.msgpack.encode(_Envelope(topic, sequence, who.role, who.name, body))


def verify(payload: bytes, *, topic: str, trust: Trust, now: datetime, limit_bytes: int) -> Verified:
    envelope = msgspec.msgpack.decode(payload, type=_Envelope)
    if envelope.topic != topic:
        raise WireError(Said("", "not for this topic"), "topic")
    return Verified(
        body=envelope.body, sender=Identity(envelope.role, envelope.name), sequence=envelope.sequence
    )


def body_of(payload: bytes) -> bytes:
    """What such an envelope holds, whoever signed it."""
    return msgspec.msgpack.decode(payload, type=_Envelope).body


def seal(public: bytes, plaintext: bytes, *, context: bytes) -> bytes:
    return msgspec.msgpack.encode(_Seal(public, context, plaintext))


def unseal(private: bytes, sealed: bytes, *, context: bytes) -> bytes:
    """A private key is its own public key here."""
    found = msgspec.msgpack.decode(sealed, type=_Seal)
    if (found.key, found.context) != (private, context):
        raise WireError(Said("", "sealed to another key or for another use"))
    return found.plaintext


def plain_cryptography(patch: pytest.MonkeyPatch) -> None:
    """10,000 runs would sign and seal for hours; who may say what to whom is checked all the same."""
    patch.setattr("fedagent.security.mail.sign", sign)
    patch.setattr("fedagent.security.mail.verify", verify)
    patch.setattr("fedagent.aggregator.letters.seal", seal)
    patch.setattr("fedagent.aggregator.desk.seal", seal)
    patch.setattr("fedagent.aggregator.offers.unseal", unseal)
