# SPDX-License-Identifier: Apache-2.0
"""A study centre for the transport's tests: an authority's certificates and the broker's files as the product makes them."""

import asyncio
import getpass
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fedagent.aggregator.authority import Authority
from fedagent.aggregator.broker import ACL, configuration
from fedagent.core.settings import BrokerSettings
from fedagent.demo.broker import Broker, MosquittoProgram, free_port
from fedagent.security.certificates import key_to_pem, make_key, make_request
from fedagent.transport.mqtt import Arrived, Connected, Disconnected, MqttEvent, MqttLink

WAIT_S = 30.0


class Centre:
    """Everything below one folder; starts nothing."""

    def __init__(self, folder: Path, *more_configuration: str) -> None:
        self.folder, self.port = folder, free_port()
        self.authority = Authority(folder / "authority")
        self.authority.create(b"password")
        (folder / "ca.crt").write_bytes(self.authority.certificate_path.read_bytes())
        self.authority.issue_broker(["localhost"], ["127.0.0.1"]).install(
            folder / "broker.crt", folder / "broker.key"
        )
        self.authority.issue_aggregator().install(folder / "aggregator.crt", folder / "aggregator.key")
        self.settings_of("aggregator")
        text = configuration(folder, port=self.port, user=getpass.getuser())
        (folder / "mosquitto.conf").write_text("\n".join([text, *more_configuration, ""]))
        (folder / "acl").write_text(ACL)
        (folder / "acl").chmod(0o600)

    def broker(self, program: MosquittoProgram) -> Broker:
        return Broker(
            program,
            configuration=self.folder / "mosquitto.conf",
            port=self.port,
            log=self.folder / "broker.log",
        )

    def settings_of(self, name: str) -> BrokerSettings:
        certificate, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        if not certificate.exists():
            made = make_key()
            key.write_bytes(key_to_pem(made, None))
            key.chmod(0o600)
            certificate.write_bytes(self.authority.sign_request(make_request(made, name), name))
        return BrokerSettings(
            host="127.0.0.1",
            port=self.port,
            ca=str(self.folder / "ca.crt"),
            certificate=str(certificate),
            key=str(key),
        )


class Party:
    """A running link whose events a test takes one by one; chunks and letters in the order in which they came."""

    def __init__(
        self, settings: BrokerSettings, client_id: str, *, receive_maximum: int = 8, will: bool = False
    ) -> None:
        topic = f"fedagent/v1/up/{client_id}/presence"
        self.name = client_id
        self.events: asyncio.Queue[MqttEvent] = asyncio.Queue()
        self.link = MqttLink(
            settings,
            client_id=client_id,
            receive_maximum=receive_maximum,
            will=(lambda: (topic, b"gone")) if will else None,
            on_event=self.events.put_nowait,
            will_delay_s=1,
        )

    async def next(self, kind: type[MqttEvent]) -> MqttEvent:
        """The next event of that kind; earlier ones of other kinds are skipped."""
        async with asyncio.timeout(WAIT_S):
            while True:
                event = await self.events.get()
                if isinstance(event, kind):
                    return event

    async def connected(self) -> Connected:
        event = await self.next(Connected)
        assert isinstance(event, Connected)
        return event

    async def disconnected(self) -> Disconnected:
        event = await self.next(Disconnected)
        assert isinstance(event, Disconnected)
        return event

    async def arrived(self) -> Arrived:
        """The next message, acknowledged."""
        event = await self.next(Arrived)
        assert isinstance(event, Arrived)
        self.link.acknowledge(event)
        return event

    async def quiet(self) -> None:
        """All that we published was taken by the broker."""
        taken = asyncio.Event()
        self.link.on_room = taken.set
        async with asyncio.timeout(WAIT_S):
            while self.link.unacknowledged:
                taken.clear()
                await taken.wait()

    async def settled(self) -> None:
        """All that we said before, subscriptions as well, was taken by the broker."""
        mine = "down/nobody" if self.name == "aggregator" else f"up/{self.name}"
        self.link.publish(f"fedagent/v1/{mine}/probe", b"")
        await self.quiet()


@asynccontextmanager
async def running(*parties: Party) -> AsyncIterator[None]:
    """The links run during the block, and take leave at its end."""
    async with asyncio.TaskGroup() as tasks:
        links = [tasks.create_task(party.link.run()) for party in parties]
        try:
            yield
        finally:
            for link in links:
                link.cancel()
