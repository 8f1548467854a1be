# SPDX-License-Identifier: Apache-2.0
"""MQTT 5 over mutual TLS on the daemon's own event loop; the only module that knows paho.

Rule: paho's callbacks only queue; ``run()`` delivers in its own task, so that an error in a receiver ends the daemon
instead of vanishing in a callback. Nothing survives a connection: every one has a paho client of its own, and whoever
waits for an answer asks again after ``Connected``.
"""

import asyncio
import logging
import ssl
import struct
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import paho.mqtt.client as mqtt
from paho.mqtt import MQTTException
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from typing_extensions import override

from fedagent.conditions import broker as say
from fedagent.conditions.condition import Said
from fedagent.core.settings import BrokerSettings
from fedagent.errors import ConfigurationError, TransportError
from fedagent.journal import tell
from fedagent.storage.failpoints import Failpoint, reach
from fedagent.transport import tls
from fedagent.transport.backoff import Backoff
from fedagent.transport.connect import Stream, explain, open_stream
from fedagent.transport.events import Arrived, Connected, Disconnected, MqttEvent
from fedagent.transport.outage import LinkStatus, Outage

__all__ = ["Arrived", "Connected", "Disconnected", "MqttEvent", "MqttLink"]

log = logging.getLogger(__name__)

PACKET_BYTES: Final = 1_048_576 + 65_536
"""Largest packet that we take: a chunk and what stands before it."""

KEEPALIVE_S: Final = 20
"""A half-open connection is noticed after twice that at most (paho: ping, then wait)."""

SESSION_S: Final = 86_400
ACCEPT_S: Final = 10.0
FAREWELL_S: Final = 2.0

_MALFORMED: Final = (MQTTException, struct.error, ValueError, LookupError, TypeError)
"""What paho raises on bytes that are not MQTT."""

_PROTOCOL: Final = 0x82
_SILENT: Final = 0x8D


class MqttLink:
    """Our one connection to the broker, made again whenever it breaks."""

    def __init__(
        self,
        settings: BrokerSettings,
        *,
        client_id: str,
        receive_maximum: int,
        will: Callable[[], tuple[str, bytes]] | None,
        on_event: Callable[[MqttEvent], None],
        will_delay_s: int = 60,
    ) -> None:
        """Connects to nothing yet.

        Args:
            receive_maximum: messages that the broker may send before we acknowledge one.
            will: asked at every CONNECT for the topic and payload that the broker publishes, retained, when we vanish.
            will_delay_s: how long after.

        Raises:
            ConfigurationError: certificate, key or CA are not usable.
        """
        tls.context(settings)
        self._settings = settings
        self._client_id = client_id
        self._receive_maximum = receive_maximum
        self._will, self._will_delay_s = will, will_delay_s
        self._on_event = on_event
        self._connection: _Connection | None = None
        self._connections = 0
        self._backoff = Backoff()
        self._outage = Outage()
        self.on_room: Callable[[], None] = lambda: None
        self.bytes_up = 0
        """Payloads handed over since the start."""
        self.bytes_down = 0
        """Payloads that came since the start."""

    @property
    def connected(self) -> bool:
        """The broker has accepted us, and nothing has failed since."""
        return self._connection is not None and self._connection.accepted

    @property
    def status(self) -> LinkStatus:
        """What people are shown."""
        return self._outage.status(self._backoff.left_s)

    @property
    def unacknowledged(self) -> int:
        """Messages handed over that the broker has not acknowledged; each is in memory."""
        return len(self._connection.published) if self._connection else 0

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Hands a message over at QoS 1; while disconnected it is dropped.

        Raises:
            TransportError: larger than the broker takes.
        """
        if self._connection and self._connection.accepted:
            self._connection.publish(topic, payload, retain=retain)
            self.bytes_up += len(payload)

    def subscribe(self, topics: Sequence[str]) -> None:
        """Asks for these topics; a refusal is logged. While disconnected nothing happens."""
        if topics and self._connection and self._connection.accepted:
            self._connection.subscribe(topics)

    def unsubscribe(self, topics: Sequence[str]) -> None:
        """No more of these topics. While disconnected nothing happens."""
        if topics and self._connection and self._connection.accepted:
            self._connection.client.unsubscribe(list(topics))

    def acknowledge(self, event: Arrived) -> None:
        """The broker may forget this message; nothing, if it came by an earlier connection."""
        if self._connection and self._connection.number == event.mid >> 16:
            self._connection.client.ack(event.mid & 0xFFFF, event.qos)

    def renew(self, reason: Said) -> None:
        """Breaks the connection; on the next one the broker sends again what was not acknowledged."""
        if self._connection:
            self._connection.end(reason)

    async def run(self) -> None:
        """Connects, serves, connects again; when cancelled takes leave of the broker, so that no will is published."""
        clock = asyncio.get_running_loop().time
        while True:
            started = clock()
            reason = await self._connect_and_serve()
            self._backoff.ended(clock() - started)
            if self._outage.goes_on(reason.text):
                tell(log, reason)
                self._on_event(Disconnected(reason=reason))
            await self._backoff.wait()

    async def _connect_and_serve(self) -> Said:
        """Why there is no connection, or none any more."""
        host, port = self._settings.host, self._settings.port
        try:
            # Read again each time: certificates are renewed while the daemon runs.
            stream = await open_stream(host, port, tls.context(self._settings))
        except ConfigurationError as error:
            return error.said
        except OSError as error:
            return explain(error, host, port)
        self._connections += 1
        connection = _Connection(stream, self._client_id, self._connections, self._settings)
        self._connection = connection
        try:
            connection.start(self._receive_maximum, self._will() if self._will else None, self._will_delay_s)
            return await self._serve(connection)
        finally:
            try:
                await connection.leave()
            finally:
                self._connection = None
                connection.close()

    async def _serve(self, connection: "_Connection") -> Said:
        try:
            async with asyncio.timeout(ACCEPT_S):
                await connection.changed.wait()
        except TimeoutError:
            return say.NOT_MQTT(where=_where(self._settings))
        while True:
            await connection.changed.wait()
            connection.changed.clear()
            while connection.events:
                self._deliver(connection.events.popleft())
            if connection.room:
                connection.room = False
                self.on_room()
            if connection.ending:
                return connection.ending

    def _deliver(self, event: MqttEvent) -> None:
        if isinstance(event, Connected):
            tell(log, say.CONNECTED(where=_where(self._settings)))
            self._outage.over()
        elif isinstance(event, Arrived):
            self.bytes_down += len(event.payload)
        self._on_event(event)


class _Client(mqtt.Client):
    """paho on a socket that is connected already: its own connect() would block the loop for DNS, TCP and TLS."""

    def __init__(self, client_id: str, stream: Stream) -> None:
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=mqtt.MQTTv5,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        self._stream = stream

    @override
    def _create_socket(self) -> ssl.SSLSocket:
        return self._stream


class _Connection:
    """One MQTT connection, from its CONNECT to its end."""

    def __init__(self, stream: Stream, client_id: str, number: int, settings: BrokerSettings) -> None:
        self.number = number
        self.accepted = False
        self.ending: Said | None = None
        self.events: deque[MqttEvent] = deque()
        self.room = False
        self.changed = asyncio.Event()
        self.published: dict[int, str] = {}
        self._subscribing: dict[int, tuple[str, ...]] = {}
        self._max_packet_bytes: int | None = None
        self._refused = ""
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._stream, self._descriptor = stream, stream.fileno()
        stream.limit_bytes = PACKET_BYTES
        self._tick: asyncio.TimerHandle | None = None
        self.client = client = _Client(client_id, stream)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_socket_register_write = self._watch_room
        client.on_socket_unregister_write = self._forget_room
        client.on_socket_close = self._on_close

    def start(self, receive_maximum: int, will: tuple[str, bytes] | None, will_delay_s: int) -> None:
        """Sends CONNECT."""
        if will:
            delay = _properties(PacketTypes.WILLMESSAGE, WillDelayInterval=will_delay_s)
            self.client.will_set(*will, qos=1, retain=True, properties=delay)
        wanted = _properties(
            PacketTypes.CONNECT,
            SessionExpiryInterval=SESSION_S,
            ReceiveMaximum=receive_maximum,
            MaximumPacketSize=PACKET_BYTES,
        )
        self._loop.add_reader(self._descriptor, self._read)
        self.client.connect(
            self._settings.host, self._settings.port, KEEPALIVE_S, clean_start=False, properties=wanted
        )
        self._tend()

    async def leave(self) -> None:
        """Sends what is queued and DISCONNECT, if there is somebody to take leave of."""
        if self.ending or not self.accepted:
            return
        self.client.disconnect()
        with suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_S):
                while not self.ending:
                    self.changed.clear()
                    await self.changed.wait()

    def close(self) -> None:
        """Gives back the socket, the timer and the loop's watches."""
        if self._tick:
            self._tick.cancel()
        self._loop.remove_reader(self._descriptor)
        self._loop.remove_writer(self._descriptor)
        self.client.on_socket_unregister_write = None
        self.client.on_socket_close = None
        self._stream.close()

    def publish(self, topic: str, payload: bytes, *, retain: bool) -> None:
        """See ``MqttLink.publish``."""
        # Fixed header (at most 5), topic with its length, packet identifier, no properties: MQTT 5, 3.3.
        size = 5 + 2 + len(topic.encode()) + 2 + 1 + len(payload)
        if self._max_packet_bytes is not None and size > self._max_packet_bytes:
            said = say.ABOVE_BROKERS_LIMIT(bytes=len(payload), topic=topic, limit=self._max_packet_bytes)
            raise TransportError(said)
        self.published[self.client.publish(topic, payload, qos=1, retain=retain).mid] = topic
        reach(Failpoint.MESSAGE_PUBLISHED)

    def subscribe(self, topics: Sequence[str]) -> None:
        """See ``MqttLink.subscribe``."""
        _, mid = self.client.subscribe([(topic, 1) for topic in topics])
        if mid is not None:
            self._subscribing[mid] = tuple(topics)

    # --- called by the loop ---------------------------------------------------------------------------------------

    def _read(self) -> None:
        # Until OpenSSL holds nothing back: the loop sees bytes in the kernel only.
        try:
            while not self.client.loop_read() and self.client.socket() and self._stream.pending():
                pass
        except _MALFORMED as error:
            self.end(say.NOT_MQTT_BECAUSE(where=_where(self._settings), reason=error))

    def _tend(self) -> None:
        self.client.loop_misc()
        self._tick = self._loop.call_later(1.0, self._tend)

    # --- called by paho -------------------------------------------------------------------------------------------

    def _on_connect(
        self, _c: object, _u: object, _f: object, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._refused = str(reason)
            return
        self.accepted = True
        self._max_packet_bytes = getattr(properties, "MaximumPacketSize", None)
        self._queue(Connected(max_packet_bytes=self._max_packet_bytes))

    def _on_message(self, _c: object, _u: object, message: mqtt.MQTTMessage) -> None:
        mid, payload = self.number << 16 | message.mid, bytes(message.payload)
        self._queue(Arrived(topic=message.topic, payload=payload, mid=mid, qos=message.qos))

    def _on_publish(self, _c: object, _u: object, mid: int, reason: ReasonCode, _p: object) -> None:
        topic = self.published.pop(mid, "")
        if reason.is_failure:
            tell(log, say.MESSAGE_NOT_TAKEN(topic=topic, reason=reason))
        self.room = True
        self.changed.set()

    def _on_subscribe(self, _c: object, _u: object, mid: int, reasons: list[ReasonCode], _p: object) -> None:
        for topic, reason in zip(self._subscribing.pop(mid, ()), reasons, strict=False):
            if reason.is_failure:
                tell(log, say.SUBSCRIPTION_REFUSED(topic=topic, reason=reason))

    def _on_disconnect(
        self, _c: object, _u: object, flags: mqtt.DisconnectFlags, reason: ReasonCode, _p: object
    ) -> None:
        where = _where(self._settings)
        if self._refused:
            self.end(say.BROKER_REFUSES_US(where=where, reason=self._refused))
        elif flags.is_disconnect_packet_from_server:
            self.end(say.SESSION_ENDED(where=where, reason=reason))
        elif reason.value == _PROTOCOL:
            self.end(say.NOT_MQTT(where=where))
        else:
            unsaid = TimeoutError() if reason.value == _SILENT else ConnectionResetError()
            self.end(explain(self._stream.failure or unsaid, self._settings.host, self._settings.port))

    def _watch_room(self, *_: object) -> None:
        self._loop.add_writer(self._descriptor, self.client.loop_write)

    def _forget_room(self, *_: object) -> None:
        self._loop.remove_writer(self._descriptor)

    def _on_close(self, *_: object) -> None:
        self._loop.remove_reader(self._descriptor)

    # --- for both -------------------------------------------------------------------------------------------------

    def end(self, reason: Said) -> None:
        """Nothing more is sent or taken; who serves the connection closes it."""
        self.ending = self.ending or reason
        self.accepted = False
        self.published.clear()
        self.changed.set()

    def _queue(self, event: MqttEvent) -> None:
        self.events.append(event)
        self.changed.set()


def _where(settings: BrokerSettings) -> str:
    return f"{settings.host}:{settings.port}"


def _properties(packet: int, **values: int) -> Properties:
    made = Properties(packet)  # type: ignore[no-untyped-call] # paho's one untyped class
    for name, value in values.items():
        setattr(made, name, value)
    return made
