# SPDX-License-Identifier: Apache-2.0
"""One small study from its start to its end, as one party hears it and what it answers: recorded once, played again later.

Rule: a party gets one event at a time and does all that follows, so that its answers depend on what it heard alone.
Messages are the wire's bytes without their envelope, whose bytes are kept elsewhere (``tests/data/golden/envelope-vN``).
"""

from collections import Counter
from hashlib import sha256
from typing import Final

import msgspec

from fedagent.aggregator import studies
from fedagent.core.round import Phase
from fedagent.errors import WireError
from fedagent.security.identity import AGGREGATOR as AGGREGATOR_IDENTITY
from fedagent.security.identity import Identity
from fedagent.transport.events import Arrived
from fedagent.wire import messages as m
from fedagent.wire import study as s
from fedagent.wire.codec import decode
from fedagent.wire.topics import OFFER_BYTES, Role, message_type, parse
from tests.fakes import network
from tests.fakes.federation import Federation
from tests.fakes.network import AGGREGATOR
from tests.fakes.scenes import approval
from tests.fakes.world import signer_of

SITE: Final = "clinic-a"
PASSES_S: Final = 2.5
STUDY: Final = s.Study(
    name="heart-1",
    purpose="Is recorded.",
    contact="study@example.org",
    task=s.Identity(parameters=40_000),
    federation=s.Federation(rounds=2, sites=(SITE,), quorum=1, deadline_s=3600.0),
    chunk_bytes=65_536,
)


class Line(msgspec.Struct, frozen=True):
    """A message on its topic: the body, or a chunk."""

    topic: str
    body: bytes


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """What happens to a party (it hears a line, or something else by name), and what it says then."""

    party: str
    heard: Line | None = None
    happens: str = ""
    says: tuple[Line, ...] = ()


class Conversation(Federation):
    """The aggregator and one site."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[Line] = []
        self.delivers = True
        self._route = self.world.network.publish
        self._numbers: Counter[str] = Counter()
        self.patch.setattr(self.world.network, "publish", self._publish)
        self.patch.setattr(self.world, "fresh", self._fresh)
        self.disks[SITE].approvals[STUDY.name] = approval(STUDY)

    def _fresh(self, what: str) -> bytes:
        """The same for the same party, whoever else is there."""
        self._numbers[what] += 1
        return sha256(f"{what} {self._numbers[what]}".encode()).digest()

    def _publish(self, topic: str, payload: bytes, *, retain: bool) -> None:
        self.said.append(Line(topic, _opened(topic, payload)))
        if self.delivers:
            self._route(topic, payload, retain=retain)

    def happens(self, name: str, what: str) -> Entry:
        match what:
            case "starts":
                self.start(name)
            case "connects":
                self.connect(name)
            case "time passes":
                self.world.clock.advance(PASSES_S)
                self.act(
                    name,
                    self.aggregator.pump if name == AGGREGATOR and self.aggregator else self.sites[SITE].look,
                )
            case "study starts":
                studies.create(self.centre.store, STUDY, self.world.clock.wall_s)
                if self.aggregator is not None:
                    self.aggregator.start_study(STUDY.name)
            case _:
                raise AssertionError(what)
        return self._settled(Entry(name, happens=what))

    def hears(self, name: str, line: Line) -> Entry:
        link = self.world.network.links[name]
        sender = AGGREGATOR_IDENTITY if name == SITE else Identity(Role.SITE, SITE)
        payload = line.body
        if _type_of(line.topic) is not None:
            self._numbers["sequence"] += 1
            payload = network.sign(
                line.body, topic=line.topic, sequence=self._numbers["sequence"], signer=signer_of(sender)
            )
        link.on_event(Arrived(topic=line.topic, payload=payload, mid=link.number << 16, qos=1))
        return self._settled(Entry(name, heard=line))

    def _settled(self, entry: Entry) -> Entry:
        """The party has done all that follows."""
        name = entry.party
        while self.is_up(name):
            party = self.party(name)
            if party.busy:
                self.act(name, party.consume)
            elif name == AGGREGATOR and self.aggregator is not None and self.aggregator.jobs:
                self.act(name, self.aggregator.do_job)
            elif name == SITE and (
                actions := [each for each in self.sites[SITE].hosting.actions() if not each.fault]
            ):
                self.act(name, actions[0].do)
            else:
                break
        says, self.said = tuple(self.said), []
        return msgspec.structs.replace(entry, says=says)


def record() -> list[Entry]:
    """The whole conversation, by what today's parties say."""
    talk = Conversation()
    try:
        entries = [talk.happens(name, what) for what in ("starts", "connects") for name in (AGGREGATOR, SITE)]
        entries.append(talk.happens(AGGREGATOR, "study starts"))
        for _ in range(200):
            waiting = [name for name in (AGGREGATOR, SITE) if talk.world.network.waits(name)]
            if not waiting:
                study = talk.sites[SITE].state.studies.get(STUDY.name)
                if study is not None and study.phase is Phase.ENDED:
                    return entries
                entries += [talk.happens(name, "time passes") for name in (AGGREGATOR, SITE)]
                continue
            packet = talk.world.network.session(waiting[0]).queue.pop(0)
            entries.append(talk.hears(waiting[0], Line(packet.topic, _opened(packet.topic, packet.payload))))
    finally:
        talk.close()
    raise AssertionError("the study does not end")


def replay(entries: list[Entry], name: str) -> list[tuple[Entry, Entry]]:
    """What the party said then, and what it says now when it hears the same."""
    talk = Conversation()
    talk.delivers = False
    # What a site sealed is known to the world only where that site is in it.
    talk.patch.setattr("tests.fakes.memory_aggregator.MemoryAggregator._check", lambda *_: None)
    found = []
    try:
        for entry in entries:
            if entry.party == name:
                now = talk.hears(name, entry.heard) if entry.heard else talk.happens(name, entry.happens)
                found.append((entry, now))
            elif entry.happens == "time passes":
                talk.world.clock.advance(PASSES_S)
    finally:
        talk.close()
    return found


def meaning(line: Line) -> object:
    """What a line says, to whoever compares: without the program's version, and of what is for people only that it came."""
    kind = _type_of(line.topic)
    if kind is None:
        return line
    message = decode(line.body, kind, limit_bytes=OFFER_BYTES)
    match message:
        case m.Presence(online=online):
            return line.topic, online
        case m.Progress() | m.Instance():  # how far, in words; and a random number
            return line.topic
        case m.SiteHello() | m.AggregatorHello():
            return line.topic, msgspec.structs.replace(message, version="", protocol=1)
        case _:
            return line.topic, message


def _type_of(topic: str) -> type[m.Message] | None:
    """None where the topic carries bytes."""
    try:
        return message_type(parse(topic))
    except WireError:
        return None


def _opened(topic: str, payload: bytes) -> bytes:
    """The body, without its envelope."""
    return payload if _type_of(topic) is None else network.body_of(payload)
