# SPDX-License-Identifier: Apache-2.0
"""A proxy between one client and the broker that sees every MQTT packet, and does to it what a test's script says.

Rule: it terminates TLS on both sides, with the broker's certificate towards the client and the client's towards the
broker, so it needs both keys: it is for federations whose folders all belong to the test. It lives in a thread of its
own; leaving the block joins the thread and closes every socket.
"""

import asyncio
import random
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Self, assert_never

import msgspec

from fedagent.demo.broker import LOOPBACK, free_port

PATIENCE_S: Final = 10.0

PUBLISH: Final = 3
_QOS: Final = 0b0110
_PUBACK: Final = b"\x40\x02"


class Packet(msgspec.Struct, frozen=True):
    """One MQTT control packet.

    Attributes:
        kind: MQTT 5, table 2-1; 3 is PUBLISH.
        start: where the variable header begins in ``raw``.
    """

    kind: int
    raw: bytes
    start: int

    @property
    def topic(self) -> str:
        """Of a PUBLISH."""
        return self.raw[self.start + 2 : self._after_topic].decode()

    @property
    def acknowledgement(self) -> bytes:
        """The PUBACK of a PUBLISH; nothing at QoS 0."""
        if not self.raw[0] & _QOS:
            return b""
        return _PUBACK + self.raw[self._after_topic : self._after_topic + 2]

    @property
    def _after_topic(self) -> int:
        return self.start + 2 + int.from_bytes(self.raw[self.start : self.start + 2], "big")


class Forward(msgspec.Struct, frozen=True):
    """These bytes go on to where they were going, after a while; what comes meanwhile overtakes them."""

    raw: bytes
    after_s: float = 0.0


class Answer(msgspec.Struct, frozen=True):
    """These bytes go back to who sent the packet."""

    raw: bytes


class Cut(msgspec.Struct, frozen=True):
    """Both connections are reset."""


class Freeze(msgspec.Struct, frozen=True):
    """Half-open: from here on nothing goes either way, and the sockets stay open."""


Step = Forward | Answer | Cut | Freeze
Script = Callable[[Packet], Sequence[Step]]


# --- scripts ------------------------------------------------------------------------------------------------------


def through(packet: Packet) -> Sequence[Step]:
    """Everything as it is."""
    return (Forward(packet.raw),)


def on_publish(happens: Callable[[Packet], Sequence[Step]]) -> Script:
    """Only to PUBLISH packets; the rest goes through."""
    return lambda packet: happens(packet) if packet.kind == PUBLISH else through(packet)


def duplicate_every(number: int) -> Script:
    """Every so many-th PUBLISH comes twice."""
    turn = _turns(number)
    return on_publish(lambda packet: (Forward(packet.raw),) * (2 if next(turn) else 1))


def late_every(number: int, after_s: float) -> Script:
    """Every so many-th PUBLISH is so late; the others overtake it."""
    turn = _turns(number)
    return on_publish(lambda packet: (Forward(packet.raw, after_s if next(turn) else 0.0),))


def lose(ratio: float, seed: int) -> Script:
    """That share of the PUBLISH packets is acknowledged and lost, as by a broker whose queue is full."""
    dice = random.Random(seed)
    return on_publish(
        lambda packet: (Answer(packet.acknowledgement),) if dice.random() < ratio else (Forward(packet.raw),)
    )


def cut_every(number: int) -> Script:
    """The connection is reset at every so many-th PUBLISH, which is lost."""
    turn = _turns(number)
    return on_publish(lambda packet: (Cut(),) if next(turn) else (Forward(packet.raw),))


def once(step: Step, when: Callable[[Packet], bool]) -> Script:
    """The step at the first PUBLISH of which that holds, which is lost; all else goes through."""
    done = threading.Event()

    def happens(packet: Packet) -> Sequence[Step]:
        if done.is_set() or not when(packet):
            return (Forward(packet.raw),)
        done.set()
        return (step,)

    return on_publish(happens)


def tell(event: threading.Event, when: Callable[[Packet], bool]) -> Script:
    """Everything goes through; the event is set when a PUBLISH comes of which that holds."""

    def happens(packet: Packet) -> Sequence[Step]:
        if when(packet):
            event.set()
        return (Forward(packet.raw),)

    return on_publish(happens)


def nth(kind: str, number: int) -> Callable[[Packet], bool]:
    """True of the so many-th PUBLISH on a topic that has that word."""
    seen = 0

    def holds(packet: Packet) -> bool:
        nonlocal seen
        seen += f"/{kind}" in packet.topic
        return seen == number

    return holds


def _turns(number: int) -> Iterator[bool]:
    while True:
        yield from (index == number - 1 for index in range(number))


# --- the proxy ----------------------------------------------------------------------------------------------------


class Credentials(msgspec.Struct, frozen=True):
    """PEM files: whom both sides trust, the broker's identity and the client's."""

    ca: Path
    broker: tuple[Path, Path]
    client: tuple[Path, Path]

    def towards_client(self) -> ssl.SSLContext:
        """As the broker."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.minimum_version = ssl.TLSVersion.TLSv1_3
        made.load_cert_chain(*self.broker)
        return made

    def towards_broker(self) -> ssl.SSLContext:
        """As the client."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        made.minimum_version = ssl.TLSVersion.TLSv1_3
        made.load_verify_locations(self.ca)
        made.load_cert_chain(*self.client)
        return made


class MqttProxy:
    """Enter it to have it listen on ``port``; a script that is changed holds for the next connection.

    Attributes:
        up: what happens to the client's packets; ``down`` to the broker's.
        connections: how many were made so far.
    """

    def __init__(
        self, credentials: Credentials, broker_port: int, *, up: Script = through, down: Script = through
    ) -> None:
        self.port = free_port()
        self.up, self.down = up, down
        self.connections = 0
        self._credentials, self._broker_port = credentials, broker_port
        self._loop = asyncio.new_event_loop()
        self._listening, self._end = threading.Event(), asyncio.Event()
        self._open: set[_Carried] = set()
        self._thread = threading.Thread(target=self._run, name=f"mqtt-proxy-{self.port}")

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._listening.wait(PATIENCE_S), "the proxy does not listen"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "the proxy does not end"

    def _each(self, act: Callable[["_Carried"], None]) -> None:
        for carried in list(self._open):
            act(carried)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        async with asyncio.TaskGroup() as tasks:

            def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                self.connections += 1
                tasks.create_task(self._carry(reader, writer))

            server = await asyncio.start_server(
                accept, LOOPBACK, self.port, ssl=self._credentials.towards_client()
            )
            self._listening.set()
            await self._end.wait()
            server.close()
            self._each(_Carried.cut)
            await server.wait_closed()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            others = await asyncio.open_connection(
                LOOPBACK,
                self._broker_port,
                ssl=self._credentials.towards_broker(),
                server_hostname="localhost",
            )
        except OSError:
            await _close(writer)
            return
        carried = _Carried(writer, others[1])
        self._open.add(carried)
        try:
            await carried.carry(reader, others[0], self.up, self.down)
        finally:
            self._open.discard(carried)
            await _close(writer)
            await _close(others[1])


class _Carried:
    """One client's connection and ours to the broker."""

    def __init__(self, client: asyncio.StreamWriter, broker: asyncio.StreamWriter) -> None:
        self._client, self._broker = client, broker
        self._frozen, self._ended = False, asyncio.Event()

    def freeze(self) -> None:
        """Nothing goes either way any more."""
        self._frozen = True

    def cut(self) -> None:
        """Both connections are reset."""
        self._client.transport.abort()
        self._broker.transport.abort()
        self._ended.set()

    async def carry(
        self, client: asyncio.StreamReader, broker: asyncio.StreamReader, up: Script, down: Script
    ) -> None:
        """Returns when either side has closed, or the connection was cut."""
        async with asyncio.TaskGroup() as tasks:
            lanes = [
                tasks.create_task(self._lane(client, self._client, self._broker, up)),
                tasks.create_task(self._lane(broker, self._broker, self._client, down)),
            ]
            await self._ended.wait()
            for lane in lanes:
                lane.cancel()

    async def _lane(
        self,
        reader: asyncio.StreamReader,
        back: asyncio.StreamWriter,
        on: asyncio.StreamWriter,
        script: Script,
    ) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                packet = await _read(reader)
                for step in script(packet) if not self._frozen else ():
                    self._do(step, back, on)
                await on.drain()
        if self._frozen:  # the peer that gave up must not be seen by the other
            return
        self._ended.set()

    def _do(self, step: Step, back: asyncio.StreamWriter, on: asyncio.StreamWriter) -> None:
        match step:
            case Forward(raw=raw, after_s=0.0):
                on.write(raw)
            case Forward(raw=raw, after_s=after_s):
                asyncio.get_running_loop().call_later(after_s, self._write, on, raw)
            case Answer(raw=raw):
                back.write(raw)
            case Cut():
                self.cut()
            case Freeze():
                self.freeze()
            case _:
                assert_never(step)

    def _write(self, on: asyncio.StreamWriter, raw: bytes) -> None:
        if not self._frozen and not on.is_closing():
            on.write(raw)


async def _read(reader: asyncio.StreamReader) -> Packet:
    """The next packet; its length is a variable byte integer (MQTT 5, 1.5.5)."""
    head = await reader.readexactly(1)
    length, shift = 0, 0
    while True:
        byte = await reader.readexactly(1)
        head += byte
        length |= (byte[0] & 0x7F) << shift
        shift += 7
        if not byte[0] & 0x80:
            break
    return Packet(head[0] >> 4, head + await reader.readexactly(length), len(head))


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with suppress(OSError):
        await writer.wait_closed()
