# SPDX-License-Identifier: Apache-2.0
"""The link against a real mosquitto over mutual TLS, with the product's own certificates and access list."""

import asyncio
import os
import signal
import socket
import ssl
from pathlib import Path

import pytest

from fedagent.conditions.broker import TOO_MUCH_AT_ONCE
from fedagent.core.settings import BrokerSettings
from fedagent.demo.broker import MosquittoProgram
from fedagent.errors import TransportError
from fedagent.security.certificates import key_to_pem, make_key, subject
from fedagent.security.identity import Identity
from fedagent.transport import mqtt
from fedagent.transport.mqtt import PACKET_BYTES, Arrived, MqttEvent
from fedagent.wire.topics import Role
from tests.fakes.centre import Centre, Party, running
from tests.fakes.certificates import FakeAuthority, leaf_extensions, pem
from tests.fakes.loop import in_loop

UP = "fedagent/v1/up/clinic-a/heart/progress"
DOWN = "fedagent/v1/down/clinic-a/heart/grant"


@pytest.fixture
def centre(tmp_path: Path) -> Centre:
    return Centre(tmp_path)


def parties(centre: Centre) -> tuple[Party, Party]:
    site = Party(centre.settings_of("clinic-a"), "clinic-a", will=True)
    return site, Party(centre.settings_of("aggregator"), "aggregator")


def replace(path: str, data: bytes) -> bytes:
    """Gives what was there."""
    before = Path(path).read_bytes()
    Path(path).write_bytes(data)
    return before


@in_loop
async def test_messages_pass_in_both_directions(centre: Centre, mosquitto: MosquittoProgram) -> None:
    site, aggregator = parties(centre)
    with centre.broker(mosquitto):
        async with running(site, aggregator):
            assert (await site.connected()).max_packet_bytes == PACKET_BYTES
            await aggregator.connected()
            assert site.link.connected
            site.link.subscribe([DOWN])
            aggregator.link.subscribe([UP])
            await aggregator.settled()
            site.link.publish(UP, b"up")
            assert (await aggregator.arrived()).payload == b"up"
            aggregator.link.publish(DOWN, b"down")
            assert (await site.arrived()).payload == b"down"
    assert not site.link.connected


@in_loop
async def test_what_was_not_acknowledged_comes_again_after_a_reconnect(
    centre: Centre, mosquitto: MosquittoProgram
) -> None:
    site, aggregator = parties(centre)
    with centre.broker(mosquitto):
        async with running(aggregator):
            await aggregator.connected()
            async with running(site):
                await site.connected()
                site.link.subscribe([DOWN])
                await site.settled()
                for number in range(3):
                    aggregator.link.publish(DOWN, bytes([number]))
                seen = [await site.next(Arrived) for _ in range(3)]
                assert isinstance(seen[1], Arrived)
                site.link.acknowledge(seen[1])
                await site.settled()
            async with running(site):
                again = {(await site.arrived()).payload for _ in range(2)}
            stale = seen[0]
            assert isinstance(stale, Arrived)
            site.link.acknowledge(stale)
    assert again == {b"\0", b"\2"}


@in_loop
async def test_a_renewed_connection_brings_what_was_dropped(
    centre: Centre, mosquitto: MosquittoProgram
) -> None:
    site, aggregator = parties(centre)
    with centre.broker(mosquitto):
        async with running(aggregator, site):
            await aggregator.connected()
            await site.connected()
            site.link.subscribe([DOWN])
            await site.settled()
            aggregator.link.publish(DOWN, b"dropped")
            await site.next(Arrived)
            site.link.renew(TOO_MUCH_AT_ONCE())
            assert (await site.disconnected()).reason == TOO_MUCH_AT_ONCE()
            assert (await site.arrived()).payload == b"dropped"


@in_loop
async def test_the_broker_sends_no_more_than_the_receive_maximum(
    centre: Centre, mosquitto: MosquittoProgram
) -> None:
    _, aggregator = parties(centre)
    site = Party(centre.settings_of("clinic-a"), "clinic-a", receive_maximum=3)
    with centre.broker(mosquitto):
        async with running(aggregator, site):
            await aggregator.connected()
            await site.connected()
            site.link.subscribe([DOWN, "fedagent/v1/all/x/round"])
            await site.settled()
            for number in range(6):
                aggregator.link.publish(DOWN, bytes([number]))
            await aggregator.quiet()
            held = [await site.next(Arrived) for _ in range(3)]
            await site.settled()
            assert site.events.empty()
            for event in held:
                assert isinstance(event, Arrived)
                site.link.acknowledge(event)
            assert [(await site.arrived()).payload for _ in range(3)] == [b"\3", b"\4", b"\5"]


@in_loop
async def test_a_killed_broker_is_found_again_and_the_outage_told_in_words(
    centre: Centre, mosquitto: MosquittoProgram
) -> None:
    site, _ = parties(centre)
    broker = centre.broker(mosquitto)
    async with running(site):
        assert "refused the connection" in (await site.disconnected()).reason.text
        with broker:
            await site.connected()
            broker.kill()
            assert "closed the connection" in (await site.disconnected()).reason.text
            assert not site.link.connected
            site.link.publish(UP, b"dropped")
            assert site.link.unacknowledged == 0
            with broker:
                await site.connected()


@in_loop
async def test_an_outage_is_told_once_for_each_reason(centre: Centre) -> None:
    site, _ = parties(centre)
    async with running(site):
        await site.disconnected()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await site.events.get()


@in_loop
async def test_a_packet_above_the_brokers_limit_is_an_error_before_it_is_sent(
    tmp_path: Path, mosquitto: MosquittoProgram
) -> None:
    centre = Centre(tmp_path)
    text = (
        (tmp_path / "mosquitto.conf")
        .read_text()
        .replace(f"max_packet_size {PACKET_BYTES}", "max_packet_size 100000")
    )
    (tmp_path / "mosquitto.conf").write_text(text)
    site, aggregator = parties(centre)
    with centre.broker(mosquitto):
        async with running(site, aggregator):
            assert (await site.connected()).max_packet_bytes == 100_000
            await aggregator.connected()
            aggregator.link.subscribe([UP])
            await aggregator.settled()
            with pytest.raises(TransportError, match="more than the broker takes"):
                site.link.publish(UP, bytes(100_000))
            overhead = 2 + len(UP) + 2 + 1 + 5
            site.link.publish(UP, bytes(100_000 - overhead))
            assert len((await aggregator.arrived()).payload) == 100_000 - overhead
            assert site.link.connected


@in_loop
async def test_nobody_listening_frees_room_and_delivers_nothing(
    centre: Centre, mosquitto: MosquittoProgram
) -> None:
    site, aggregator = parties(centre)
    with centre.broker(mosquitto):
        async with running(site, aggregator):
            await site.connected()
            await aggregator.connected()
            site.link.publish(UP, b"unheard")
            assert site.link.unacknowledged == 1
            await site.quiet()
            aggregator.link.subscribe([UP])
            await aggregator.settled()
            site.link.publish(UP, b"heard")
            assert (await aggregator.arrived()).payload == b"heard"


@in_loop
async def test_the_will_is_published_when_a_site_vanishes_and_not_when_it_leaves(
    centre: Centre, mosquitto: MosquittoProgram
) -> None:
    site, aggregator = parties(centre)
    with centre.broker(mosquitto):
        async with running(aggregator):
            await aggregator.connected()
            aggregator.link.subscribe(["fedagent/v1/up/clinic-a/presence"])
            await aggregator.settled()
            async with running(site):
                await site.connected()
            async with running(site):
                await site.connected()
                assert site.link._connection
                site.link._connection._stream.shutdown(
                    socket.SHUT_RDWR
                )  # no DISCONNECT: as when the power fails
                await site.disconnected()
            will = await aggregator.arrived()
            assert (will.payload, aggregator.events.empty()) == (b"gone", True)


@in_loop
async def test_the_last_word_of_a_site_that_leaves_is_heard(
    centre: Centre, mosquitto: MosquittoProgram
) -> None:
    site, aggregator = parties(centre)
    with centre.broker(mosquitto):
        async with running(aggregator):
            await aggregator.connected()
            aggregator.link.subscribe(["fedagent/v1/up/clinic-a/presence"])
            await aggregator.settled()
            async with running(site):
                await site.connected()
                site.link.publish("fedagent/v1/up/clinic-a/presence", b"leaves", retain=True)
            assert (await aggregator.arrived()).payload == b"leaves"


@in_loop
async def test_a_broker_with_a_foreign_certificate_is_not_accepted(
    centre: Centre, mosquitto: MosquittoProgram
) -> None:
    settings = centre.settings_of("clinic-a")
    (centre.folder / "ca.crt.other").write_bytes(FakeAuthority().pem)
    foreign = BrokerSettings(
        host=settings.host,
        port=settings.port,
        ca=str(centre.folder / "ca.crt.other"),
        certificate=settings.certificate,
        key=settings.key,
    )
    site = Party(foreign, "clinic-a")
    with centre.broker(mosquitto):
        async with running(site):
            assert "certificate of the broker" in (await site.disconnected()).reason.text


@in_loop
async def test_a_certificate_that_the_broker_does_not_accept_is_named_as_ours(
    centre: Centre, mosquitto: MosquittoProgram
) -> None:
    settings = centre.settings_of("clinic-a")
    key, identity = make_key(), Identity(Role.SITE, "clinic-a")
    leaf = FakeAuthority().issue(key.public_key(), subject("clinic-a"), leaf_extensions(identity))
    replace(settings.certificate, pem(leaf))
    replace(settings.key, key_to_pem(key, None))
    site = Party(settings, "clinic-a")
    with centre.broker(mosquitto):
        async with running(site):
            assert "did not accept our certificate" in (await site.disconnected()).reason.text


@in_loop
async def test_a_renewed_certificate_is_used_without_a_restart(
    centre: Centre, mosquitto: MosquittoProgram
) -> None:
    settings = centre.settings_of("clinic-a")
    site = Party(settings, "clinic-a")
    good = replace(settings.key, b"half written")
    with centre.broker(mosquitto):
        async with running(site):
            assert "broker.certificate" in (await site.disconnected()).reason.text
            replace(settings.key, good)
            await site.connected()


@in_loop
async def test_a_silent_server_does_not_hold_up_the_end(centre: Centre) -> None:
    met = asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        met.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", centre.port)
    site, _ = parties(centre)
    started = asyncio.get_running_loop().time()
    async with server, running(site):
        await met.wait()
    assert asyncio.get_running_loop().time() - started < 2.0


@in_loop
async def test_a_broker_that_hangs_is_noticed(
    centre: Centre, mosquitto: MosquittoProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "KEEPALIVE_S", 1)
    site, _ = parties(centre)
    with centre.broker(mosquitto) as broker:
        async with running(site):
            await site.connected()
            os.kill(broker.pid, signal.SIGSTOP)
            try:
                assert "does not answer" in (await site.disconnected()).reason.text
            finally:
                os.kill(broker.pid, signal.SIGCONT)
            await site.connected()


@pytest.mark.parametrize(
    "answer", [pytest.param(b"", id="nothing"), pytest.param(b"\x20\0", id="half a packet")]
)
@in_loop
async def test_a_tls_server_that_is_no_broker_is_told(
    centre: Centre, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    monkeypatch.setattr(mqtt, "ACCEPT_S", 0.2)

    async def chat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await reader.read()
        writer.close()

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(centre.folder / "broker.crt", centre.folder / "broker.key")
    server = await asyncio.start_server(chat, "127.0.0.1", centre.port, ssl=context)
    site, _ = parties(centre)
    async with server, running(site):
        assert "does not speak MQTT 5" in (await site.disconnected()).reason.text


@in_loop
async def test_an_error_of_the_receiver_ends_the_link(centre: Centre, mosquitto: MosquittoProgram) -> None:
    def refuse(_: MqttEvent) -> None:
        raise LookupError("the inbox is full")

    link = mqtt.MqttLink(
        centre.settings_of("clinic-a"), client_id="clinic-a", receive_maximum=4, will=None, on_event=refuse
    )
    with centre.broker(mosquitto), pytest.raises(LookupError, match="full"):
        await link.run()


@in_loop
async def test_a_server_that_speaks_no_tls_is_told(centre: Centre) -> None:
    async def chat(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(chat, "127.0.0.1", centre.port)
    site, _ = parties(centre)
    async with server, running(site):
        assert "TLS" in (await site.disconnected()).reason.text


@in_loop
async def test_a_name_that_does_not_exist_is_told(centre: Centre) -> None:
    settings = centre.settings_of("clinic-a")
    wrong = BrokerSettings(
        host="broker.invalid", port=1, ca=settings.ca, certificate=settings.certificate, key=settings.key
    )
    site = Party(wrong, "clinic-a")
    async with running(site):
        assert "broker.invalid was not found" in (await site.disconnected()).reason.text
