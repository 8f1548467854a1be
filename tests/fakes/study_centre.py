# SPDX-License-Identifier: Apache-2.0
"""A study centre in one folder: a real aggregator whose sites and broker are in memory."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np

from fedagent.aggregator import control
from fedagent.aggregator.app import Aggregator, Stop
from fedagent.aggregator.settings import AggregatorBroker, AggregatorPaths, AggregatorSettings
from fedagent.aggregator.store import Store
from fedagent.aggregator.tables import PartPhase, StudyPhase
from fedagent.security.certificates import key_to_pem, make_key, subject
from fedagent.security.identity import AGGREGATOR, Identity
from fedagent.transport.events import MqttEvent
from fedagent.wire import study as s
from fedagent.wire.topics import Role
from tests.fakes.certificates import FakeAuthority, leaf_extensions, pem
from tests.fakes.clinic import holder, new_authority
from tests.fakes.site import FakeSite, MemoryLink

NAMES = ("clinic-a", "clinic-b", "clinic-c")
LIMIT_S = 20.0


def study(**changes: object) -> s.Study:
    federation = {"rounds": 3, "sites": NAMES, "quorum": 2, "deadline_s": 3600.0}
    federation |= {key: changes.pop(key) for key in list(changes) if key in s.Federation.__struct_fields__}
    made = s.Study(
        name="transfer",
        purpose="Measures the transfer.",
        contact="study@example.org",
        task=s.Identity(parameters=40_000, tensors=3, increment=0.5),
        federation=s.Federation(**federation),  # type: ignore[arg-type]
        chunk_bytes=65_536,
    )
    return msgspec.structs.replace(made, **changes)


class Centre:
    """A study centre's folder, its authority, its sites, and the aggregator while it runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority: FakeAuthority = new_authority()
        key, now = make_key(), datetime.now(UTC)
        leaf = self.authority.issue(
            key.public_key(),
            subject(AGGREGATOR.name),
            leaf_extensions(AGGREGATOR),
            begin=now - timedelta(hours=1),
            end=now + timedelta(hours=1),
        )
        (folder / "ca.crt").write_bytes(self.authority.pem)
        (folder / "aggregator.crt").write_bytes(pem(leaf))
        (folder / "aggregator.key").write_bytes(key_to_pem(key, None))
        self.settings = AggregatorSettings(
            broker=AggregatorBroker(
                ca=str(folder / "ca.crt"),
                certificate=str(folder / "aggregator.crt"),
                key=str(folder / "aggregator.key"),
            ),
            paths=AggregatorPaths(state=str(folder / "state"), runtime=str(folder)),
        )
        self.sites = {name: self.site(name, rows=100 * (1 + index)) for index, name in enumerate(NAMES)}
        self.link: MemoryLink

    def site(self, name: str, *, rows: int = 100) -> FakeSite:
        return FakeSite(holder(self.authority, Identity(Role.SITE, name)), self.authority.trust, rows=rows)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Aggregator]:
        """The aggregator, connected to its sites; ended orderly at the end of the block."""
        made: list[MemoryLink] = []

        def make_link(_: AggregatorSettings, on_event: Callable[[MqttEvent], None]) -> MemoryLink:
            made.append(MemoryLink(on_event))
            return made[0]

        aggregator = Aggregator(self.settings, make_link)
        self.link = made[0]
        async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as tasks:
            running = tasks.create_task(aggregator.run())
            for site in self.sites.values():
                self.link.sites.append(site)
                site.link = self.link
            await self.link.until(lambda: self.link.connected)
            for site in self.sites.values():
                site.hello()
            try:
                yield aggregator
            finally:
                if not running.done():
                    aggregator._put(Stop())

    async def ask(self, request: control.AnyAsk) -> None:
        await asyncio.to_thread(control.ask, self.settings.control_socket, request)

    async def begin(self, made: s.Study) -> None:
        await self.ask(control.CreateStudy(study=made))
        await self.ask(control.StartStudy(name=made.name))

    def store(self) -> Store:
        return Store(self.settings.store)

    async def until_phase(self, phase: StudyPhase) -> None:
        store = self.store()
        try:
            await self.link.until(lambda: store.study("transfer").phase is phase)
        finally:
            store.close()

    async def until_part(self, site: str, phase: PartPhase, number: int = 1) -> None:
        store = self.store()

        def there() -> bool:
            round_ = store.round("transfer", number)
            return round_ is not None and any(p.site == site and p.phase is phase for p in round_.parts)

        try:
            await self.link.until(there)
        finally:
            store.close()

    def final_model(self) -> np.ndarray:
        store = self.store()
        try:
            model = store.newest_model("transfer")
        finally:
            store.close()
        assert model is not None
        data = (self.settings.models / f"{model.reference.plaintext.hex()}.safetensors").read_bytes()
        return np.frombuffer(data[-40_000 * 4 :], dtype="<f4")
