# SPDX-License-Identifier: Apache-2.0
"""Models over a real mosquitto: shared down, by credit up, and through a broker that is killed on the way."""

import asyncio
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from fedagent.demo.broker import Broker, MosquittoProgram
from fedagent.storage.blobs import BlobFolder
from fedagent.transport.collect import Collector
from fedagent.transport.download import Download
from fedagent.transport.mqtt import Arrived, Connected, MqttEvent
from fedagent.transport.shared import SharedPublisher
from fedagent.transport.upload import Upload
from fedagent.wire.manifest import Manifest, blob_digest
from fedagent.wire.messages import ModelReference
from tests.fakes.centre import Centre, Party, running
from tests.fakes.loop import in_loop

CHUNK = 262_144
WINDOW = 4
COUNT = 77
SIZE = COUNT * CHUNK - 1000
"""20 MB, the last chunk shorter."""

PREFIX = "fedagent/v1/"


def model(folder: BlobFolder) -> tuple[Manifest, bytes]:
    data = os.urandom(SIZE)
    manifest = folder.add_file((data[i : i + CHUNK] for i in range(0, SIZE, CHUNK)), CHUNK)
    return manifest, hashlib.sha256(data).digest()


def digest_of(path: Path | None) -> bytes:
    assert path
    return hashlib.sha256(path.read_bytes()).digest()


class Sender:
    """The aggregator's side of the way down and of the way up; letters are plain here: signing has its own tests."""

    def __init__(self, centre: Centre, folder: Path) -> None:
        self.party = Party(centre.settings_of("aggregator"), "aggregator")
        self.models, self.updates = BlobFolder(folder / "models"), BlobFolder(folder / "updates")
        self.published = 0
        self.most_outstanding = 0
        self.collector = Collector(self.updates, maximum_outstanding=6, window=WINDOW)
        self.publisher = SharedPublisher(
            self.party.link, self._read_chunk, self.models.read_manifest, window=WINDOW
        )
        self.manifests: dict[str, Manifest] = {}
        self.complete: dict[str, Path] = {}
        self.on_chunk: Callable[[int], None] = lambda _: None

    def _read_chunk(self, blob: bytes, index: int) -> bytes:
        self.published += 1
        self.on_chunk(self.published)
        return self.models.read_chunk(blob, index)

    async def serve(self) -> None:
        now = asyncio.get_running_loop().time
        self.party.link.on_room = lambda: self.party.events.put_nowait(Connected(max_packet_bytes=None))
        wake: float | None = None
        while True:
            try:
                async with asyncio.timeout_at(wake):
                    event: MqttEvent | None = await self.party.events.get()
            except TimeoutError:
                event = None
            if isinstance(event, Connected):
                self.party.link.subscribe([f"{PREFIX}up/#"])
                for site in self.manifests:
                    self.party.link.publish(f"{PREFIX}down/{site}/heart/hello", b"")
            if isinstance(event, Arrived):
                self._take(event, now())
                self.party.link.acknowledge(event)
            wake = self._pump(now())

    def _take(self, event: Arrived, now: float) -> None:
        _, _, _, site, *_, kind = event.topic.split("/")
        if kind == "want":
            blob, chunks = event.payload[:32], event.payload[32:]
            self.publisher.want(site, blob, tuple(chunks), now)
        if kind == "manifest":
            manifest = self.manifests[site]
            self.collector.offer(site, "heart", manifest, now)
        if kind == "chunk":
            path = self.collector.chunk(site, "heart", event.payload, now)
            if path:
                self.complete[site] = path
                self.party.link.publish(f"{PREFIX}down/{site}/heart/receipt", b"")

    def _pump(self, now: float) -> float | None:
        for site, study, _, chunks, _ in self.collector.grants(now):
            self.party.link.publish(f"{PREFIX}down/{site}/{study}/grant", bytes(chunks))
        self.most_outstanding = max(self.most_outstanding, self.collector.outstanding)
        wakes = [each for each in (self.publisher.pump(now), self.collector.wake()) if each is not None]
        return min(wakes, default=None)


async def fetch(site: Party, folder: BlobFolder, reference: ModelReference) -> Path:
    """What a site daemon does until the model is here."""
    now = asyncio.get_running_loop().time

    def ask(chunks: tuple[int, ...]) -> None:
        site.link.publish(f"{PREFIX}up/{site.name}/heart/want", reference.blob + bytes(chunks))

    download = Download(reference, folder, site.link, ask=ask, window=WINDOW)
    download.start(now())
    while not download.done:
        try:
            async with asyncio.timeout_at(download.wake(now())):
                event = await site.events.get()
        except TimeoutError:
            continue
        if isinstance(event, Connected):
            download.resume(now())
        if isinstance(event, Arrived):
            download.arrived(event.topic, event.payload, now())
            site.link.acknowledge(event)
    return download.done


async def send(site: Party, folder: BlobFolder, manifest: Manifest) -> None:
    """What a site daemon does until the receipt is here."""
    digest = blob_digest(manifest)
    path = folder.path(digest)
    assert path
    upload = Upload(digest, manifest, path, study="heart", site=site.name, link=site.link, window=WINDOW)
    site.link.on_room = upload.pump
    topics = [f"{PREFIX}down/{site.name}/heart/{kind}" for kind in ("hello", "grant", "receipt")]
    site.events.put_nowait(Connected(max_packet_bytes=None))
    while True:
        event = await site.events.get()
        kind = event.topic.rpartition("/")[2] if isinstance(event, Arrived) else ""
        if isinstance(event, Arrived):
            site.link.acknowledge(event)
            upload.granted(tuple(event.payload))
            upload.pump()
        if isinstance(event, Connected):
            site.link.subscribe(topics)
        if isinstance(event, Connected) or kind == "hello":
            site.link.publish(f"{PREFIX}up/{site.name}/heart/manifest", b"")
        if kind == "receipt":
            return


class Scene:
    """An aggregator, two sites and their broker."""

    def __init__(self, folder: Path, mosquitto: MosquittoProgram) -> None:
        self.centre = Centre(folder)
        self.broker: Broker = self.centre.broker(mosquitto)
        self.aggregator = Sender(self.centre, folder / "aggregator")
        names = ("clinic-a", "clinic-b")
        self.sites = [Party(self.centre.settings_of(name), name) for name in names]
        self.folders = [BlobFolder(folder / name) for name in names]

    @property
    def parties(self) -> list[Party]:
        return [self.aggregator.party, *self.sites]

    async def begin(self, tasks: asyncio.TaskGroup) -> asyncio.Task[None]:
        for party in self.parties:
            await party.connected()
        self.aggregator.party.link.subscribe([f"{PREFIX}up/#"])
        await self.aggregator.party.settled()
        return tasks.create_task(self.aggregator.serve())

    def reference(self) -> tuple[ModelReference, bytes]:
        manifest, plain = model(self.aggregator.models)
        made = ModelReference(blob=blob_digest(manifest), size_bytes=SIZE, chunk_bytes=CHUNK, plaintext=plain)
        return made, plain


@in_loop
async def test_two_sites_that_fetch_together_share_the_chunks(
    tmp_path: Path, mosquitto: MosquittoProgram
) -> None:
    scene = Scene(tmp_path, mosquitto)
    reference, plain = scene.reference()
    with scene.broker:
        async with asyncio.timeout(60), running(*scene.parties), asyncio.TaskGroup() as tasks:
            serving = await scene.begin(tasks)
            paths = await asyncio.gather(
                *(
                    fetch(site, folder, reference)
                    for site, folder in zip(scene.sites, scene.folders, strict=True)
                )
            )
            serving.cancel()
    assert [digest_of(path) for path in paths] == [plain, plain]
    assert scene.aggregator.published < 1.3 * COUNT
    assert "dropped" not in (tmp_path / "broker.log").read_text()


@in_loop
async def test_a_download_survives_a_killed_broker(tmp_path: Path, mosquitto: MosquittoProgram) -> None:
    scene = Scene(tmp_path, mosquitto)
    reference, plain = scene.reference()
    middle = asyncio.Event()
    scene.aggregator.on_chunk = lambda number: middle.set() if number == COUNT // 2 else None
    with scene.broker:
        async with asyncio.timeout(60), running(*scene.parties), asyncio.TaskGroup() as tasks:
            serving = await scene.begin(tasks)
            fetching = tasks.create_task(fetch(scene.sites[0], scene.folders[0], reference))
            await middle.wait()
            scene.broker.kill()
            with scene.broker:
                assert digest_of(await fetching) == plain
                serving.cancel()
    assert scene.aggregator.published < COUNT + 3 * WINDOW


@in_loop
async def test_updates_come_up_by_credit_and_through_a_killed_broker(
    tmp_path: Path, mosquitto: MosquittoProgram
) -> None:
    scene = Scene(tmp_path, mosquitto)
    made = [model(folder) for folder in scene.folders]
    scene.aggregator.manifests = {
        site.name: manifest for site, (manifest, _) in zip(scene.sites, made, strict=True)
    }
    middle = asyncio.Event()
    take = scene.aggregator.collector.chunk

    def watch(site: str, study: str, payload: bytes, now: float) -> Path | None:
        if int.from_bytes(payload[32:36], "big") == COUNT // 2:
            middle.set()
        return take(site, study, payload, now)

    scene.aggregator.collector.chunk = watch  # type: ignore[method-assign]
    with scene.broker:
        async with asyncio.timeout(60), running(*scene.parties), asyncio.TaskGroup() as tasks:
            serving = await scene.begin(tasks)
            sending = [
                tasks.create_task(send(site, folder, manifest))
                for site, folder, (manifest, _) in zip(scene.sites, scene.folders, made, strict=True)
            ]
            await middle.wait()
            scene.broker.kill()
            with scene.broker:
                await asyncio.gather(*sending)
                serving.cancel()
    assert [digest_of(scene.aggregator.complete[site.name]) for site in scene.sites] == [
        plain for _, plain in made
    ]
    assert scene.aggregator.most_outstanding <= 6
