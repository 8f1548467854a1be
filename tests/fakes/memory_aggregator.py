# SPDX-License-Identifier: Apache-2.0
"""An aggregator: the real shell's steps without loop, threads and disk.

Rule: it takes one item of its inbox when it is told to; what outlives its death is in ``AggregatorDisk``.
"""

import asyncio
import hashlib
from typing import cast

from fedagent.aggregator import app as aggregator_app
from fedagent.aggregator import jobs, post
from fedagent.aggregator.conductor import Conductor
from fedagent.aggregator.deadlines import Deadlines
from fedagent.aggregator.desk import Desk
from fedagent.aggregator.intake import Intake
from fedagent.aggregator.post import Post
from fedagent.aggregator.settings import AggregatorSettings
from fedagent.aggregator.tables import StudyPhase
from fedagent.aggregator.workshop import Workshop
from fedagent.conditions.aggregator import UPDATE_NOT_FINITE
from fedagent.security.identity import AGGREGATOR as AGGREGATOR_IDENTITY
from fedagent.storage.backlog import Backlog
from fedagent.storage.shortage import Shortage
from fedagent.transport.collect import Collector
from fedagent.transport.mailbox import Mailbox
from fedagent.transport.outbox import Outbox
from fedagent.transport.shared import SharedPublisher
from fedagent.wire import messages as m
from tests.fakes.memory import (
    Disk,
    MemoryBlobs,
    MemoryModels,
    MemoryStore,
    aggregator_database,
)
from tests.fakes.network import AGGREGATOR
from tests.fakes.world import AGGREGATOR_KEY, TRUST, WINDOW, World, signer_of


class AggregatorDisk:
    """What the aggregator has made durable."""

    def __init__(self) -> None:
        self.database = aggregator_database()
        self.store = MemoryStore(self.database)
        self.updates, self.blobs = Disk(), Disk()
        self.plaintexts: set[bytes] = set()


class MemoryAggregator(aggregator_app.Aggregator):
    """``Aggregator`` from its disk; its jobs wait until a test lets one be done."""

    def __init__(self, world: World, disk: AggregatorDisk) -> None:
        self.world, self.disk = world, disk
        self._inbox = asyncio.Queue()
        self._waiting = 0
        self._shortage = Shortage(world.now)
        self._backlog = Backlog(self._shortage, self._store_effects)
        self._next_tick = 0.0
        self._store = MemoryStore(disk.database)
        durable = lambda: world.network.act(AGGREGATOR)  # noqa: E731 (one name for three uses)
        updates, blobs = MemoryBlobs(disk.updates, durable), MemoryBlobs(disk.blobs, durable)
        self._settings = AggregatorSettings()
        self._models = self.models = MemoryModels(blobs, disk.plaintexts)
        self._link = cast("post.Link", world.network.attach(AGGREGATOR, self._put))
        mailbox = Mailbox(disk.database, signer_of(AGGREGATOR_IDENTITY), TRUST)
        self._post = Post(self._link, mailbox, Outbox(disk.database))
        self._intake = Intake(updates, Collector(updates, window=WINDOW))
        self._publisher = SharedPublisher(self._link, blobs.read_chunk, blobs.read_manifest, WINDOW)
        self.jobs: list[jobs.Job] = []
        self._conductor = Conductor(
            self._store,
            self._post,
            self.models,
            self._intake,
            aggregator_key=AGGREGATOR_KEY,
            workshop=Workshop(self.jobs.append, self._shortage),
        )
        self._deadlines = Deadlines(self._store, self._conductor.announce)
        self._desk = Desk(
            self._store,
            self._post,
            self._conductor,
            intake=self._intake,
            publisher=self._publisher,
            private_key=AGGREGATOR_KEY,
        )
        self._conductor.resume(world.now())

    @property
    def busy(self) -> bool:
        return not self._inbox.empty()

    def consume(self) -> None:
        """One item of the inbox, and what is due."""
        item = self._inbox.get_nowait()
        assert not isinstance(item, aggregator_app.Stop)
        self._take(item, self.world.now())
        self.pump()

    def pump(self) -> None:
        """What ``_pump`` does, without its timer."""
        now = self.world.now()
        if now.monotonic >= self._next_tick:
            self._next_tick = now.monotonic + aggregator_app.TICK_S
            self._conductor.tick(now)
        for site, grant in self._intake.grants(now.monotonic) if self._link.connected else ():
            self._post.send(grant, site)
        self._publish(now.monotonic)

    def start_study(self, name: str) -> None:
        self._conductor.start(name, self.world.now())

    def stop_study(self, name: str) -> None:
        self._conductor.stop(name, "enough", self.world.now())

    def do_job(self, spoiled: str | None = None) -> None:
        """The oldest job is done; the result waits in the inbox.

        Args:
            spoiled: the update of this site turns out to be no use, where it is among them.
        """
        job = self.jobs.pop(0)
        if isinstance(job, jobs.Prepare):
            plaintext = hashlib.sha256(job.study.name.encode()).digest()
            model = self.models.make(job.study, plaintext, self.world.fresh("key"))
            self._put(jobs.Prepared(study=job.study.name, model=model))
            return
        if self._store.study(job.study.name).phase is StudyPhase.RUNNING:
            self._check(job)
        elif not all(bytes.fromhex(str(each.path)) in self.disk.updates.whole for each in job.updates):
            return  # the study was stopped, its updates are deleted
        sites = tuple(each.site for each in job.updates)
        name, number = job.study.name, job.number
        if spoiled in sites:
            unusable = jobs.UpdateUnusable(
                study=name, number=number, site=spoiled, reason=m.Reason.NOT_FINITE, said=UPDATE_NOT_FINITE()
            )
            self._put(unusable)
            return
        parts = b"".join(bytes.fromhex(str(each.path)) for each in job.updates)
        model = self.models.make(
            job.study, hashlib.sha256(job.base + parts).digest(), self.world.fresh("key")
        )
        self._put(jobs.RoundFolded(study=name, number=number, sites=sites, model=model))

    def _check(self, job: jobs.FoldRound) -> None:
        """Each site once, and with what it sealed for this round and model."""
        sites = [each.site for each in job.updates]
        assert len(set(sites)) == len(sites)
        for each in job.updates:
            blob = bytes.fromhex(str(each.path))
            assert blob in self.disk.updates.whole
            assert self.world.sealed[blob] == (each.site, job.study.name, job.number, job.base)
            assert self.disk.updates.whole[blob][0].decode().split()[4] == each.key.hex()
        assert job.base in self.disk.plaintexts
