# SPDX-License-Identifier: Apache-2.0
"""The aggregator's shell: builds the parts, feeds one inbox, hands each event to who decides.

Rule: every source only puts events; one consumer takes them in order. A message is acknowledged after its effects are
durable; where its effects find no room on the disk it waits for that. Whatever ends this process, the next one takes up from
the store.
"""

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, assert_never

import msgspec

from fedagent.aggregator import control, jobs, studies
from fedagent.aggregator.conductor import Conductor
from fedagent.aggregator.deadlines import Deadlines
from fedagent.aggregator.desk import Desk
from fedagent.aggregator.eviction import stay_in_budget
from fedagent.aggregator.intake import Intake
from fedagent.aggregator.models import Models
from fedagent.aggregator.post import Link, Post
from fedagent.aggregator.settings import AggregatorSettings
from fedagent.aggregator.store import Store
from fedagent.aggregator.tables import StudyPhase
from fedagent.aggregator.workshop import Workshop
from fedagent.conditions.aggregator import (
    AGGREGATOR_READY,
    AGGREGATOR_STOPS,
    JOB_OVERTAKEN,
    NOT_AN_AGGREGATOR,
    NOT_INITIALISED,
    SERVING,
    SERVING_WITHOUT_BROKER,
)
from fedagent.conditions.broker import TOO_MUCH_AT_ONCE
from fedagent.conditions.files import NOT_READABLE
from fedagent.core.facts import Instant
from fedagent.errors import (
    ConfigurationError,
    FedagentError,
    NoSpaceError,
    StorageError,
    TransportError,
    UsageError,
)
from fedagent.host.service import ServiceStatus
from fedagent.journal import tell
from fedagent.security.certificates import Signer, Trust
from fedagent.security.identity import AGGREGATOR
from fedagent.security.sealing import new_private_key, public_key
from fedagent.storage.backlog import Backlog
from fedagent.storage.blobs import BlobFolder
from fedagent.storage.files import make_private_folder, write_atomically
from fedagent.storage.room import MIB
from fedagent.storage.shortage import Shortage
from fedagent.transport.collect import Collector
from fedagent.transport.credentials import read_credentials
from fedagent.transport.events import Arrived, Connected, Disconnected, MqttEvent
from fedagent.transport.mailbox import Mailbox
from fedagent.transport.mqtt import MqttLink
from fedagent.transport.outage import LinkStatus
from fedagent.transport.outbox import Outbox
from fedagent.transport.shared import SharedPublisher
from fedagent.wire.topics import PREFIX

log = logging.getLogger(__name__)

INBOX: Final = 4096
"""More than jobs, requests of operators and messages can be under way at once; a full inbox is an error of ours."""

WAITING: Final = 512
"""Messages that wait in the inbox: twice what is granted to all sites together (``transport.collect``). A broker that keeps
to our receive maximum never gets there; the memory that one takes which does not ends here."""

RECEIVE_MAXIMUM: Final = 16
"""Messages that the broker hands us before we acknowledge one; chunks are up to 1 MiB each."""

TICK_S: Final = 1.0
"""Longest wait before grants and deadlines are looked at again."""


class Stop(msgspec.Struct, frozen=True):
    """SIGTERM or SIGINT."""


class Woke(msgspec.Struct, frozen=True):
    """Something may be due."""


Item = MqttEvent | control.Asked | jobs.JobResult | Stop | Woke
LinkMaker = Callable[[AggregatorSettings, Callable[[MqttEvent], None]], Link]


def mqtt_link(settings: AggregatorSettings, on_event: Callable[[MqttEvent], None]) -> Link:
    """The real connection."""
    return MqttLink(
        settings.broker,
        client_id=AGGREGATOR.name,
        receive_maximum=RECEIVE_MAXIMUM,
        will=None,
        on_event=on_event,
    )


def instant() -> Instant:
    """Now, by both clocks."""
    return Instant(monotonic=time.monotonic(), wall=time.time_ns() / 1e9)


class Aggregator:
    """One aggregator, from its settings to its end."""

    def __init__(self, settings: AggregatorSettings, make_link: LinkMaker = mqtt_link) -> None:
        """Opens the state; the network is not waited for.

        Raises:
            ConfigurationError: a certificate or key is not usable.
            StorageError: the state cannot be read.
        """
        self._settings = settings
        self._inbox: asyncio.Queue[Item] = asyncio.Queue(INBOX)
        self._waiting, self._next_tick = 0, 0.0
        state = make_private_folder(settings.state)
        make_private_folder(settings.control_socket.parent)
        signer, trust = _identity(settings)
        private_key = _private_key(state / "key")
        self._store = Store(settings.store)
        reserve = settings.storage.free_mib * MIB
        blobs, updates = BlobFolder(settings.blobs), BlobFolder(state / "updates", reserve_bytes=reserve)
        self._models = Models(settings.models, blobs, reserve_bytes=reserve)
        self._shortage = Shortage(instant)
        self._backlog: Backlog[Arrived | jobs.JobResult] = Backlog(self._shortage, self._store_effects)
        self._link = make_link(settings, self._put)
        mailbox = Mailbox(self._store.database, signer, trust)
        self._post = Post(self._link, mailbox, Outbox(self._store.database))
        self._intake = Intake(updates, Collector(updates, window=settings.transfer.window))
        self._publisher = SharedPublisher(
            self._link, blobs.read_chunk, blobs.read_manifest, settings.transfer.window
        )
        self._conductor = Conductor(
            self._store, self._post, self._models, self._intake,
            aggregator_key=public_key(private_key), workshop=Workshop(self._start_job, self._shortage),
        )  # fmt: skip
        self._deadlines = Deadlines(self._store, self._conductor.announce)
        self._desk = Desk(
            self._store, self._post, self._conductor,
            intake=self._intake, publisher=self._publisher, private_key=private_key,
        )  # fmt: skip
        self._link.on_room = self._wake
        self._ending, self._tasks = threading.Event(), asyncio.TaskGroup()
        self._timer: asyncio.TimerHandle | None = None
        self._service = ServiceStatus() if "NOTIFY_SOCKET" in os.environ else None

    async def run(self) -> None:
        """Serves until SIGTERM or SIGINT."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._put, Stop())
        server = await control.serve(self._settings.control_socket, self._put)
        try:
            async with self._tasks:
                link = self._tasks.create_task(self._link.run())
                now = instant()
                self._deadlines.mind(now)
                self._conductor.resume(now)
                if self._service:
                    self._service.ready()
                tell(log, AGGREGATOR_READY(path=self._settings.state))
                await self._consume()
                if self._service:
                    self._service.stopping()
                link.cancel()
        except* FedagentError as group:
            raise _first(group) from group
        finally:
            self._ending.set()
            server.close()
            self._settings.control_socket.unlink(missing_ok=True)
            self._store.close()

    # --- the one consumer -----------------------------------------------------------------------------------------

    async def _consume(self) -> None:
        self._put(Woke())
        while True:
            item = await self._inbox.get()
            if isinstance(item, Stop):
                break
            now = instant()
            self._deadlines.mind(now)
            self._take(item, now)
            self._pump(now)
        tell(log, AGGREGATOR_STOPS())
        self._ending.set()
        if self._timer:
            self._timer.cancel()

    def _take(
        self, item: Connected | Disconnected | Arrived | control.Asked | jobs.JobResult | Woke, now: Instant
    ) -> None:
        match item:
            case (
                Arrived()
                | jobs.Prepared()
                | jobs.RoundFolded()
                | jobs.UpdateUnusable()
                | jobs.RoundBroken()
                | jobs.NoRoom()
            ):
                self._backlog.take(item)
            case Connected():
                self._waiting -= self._backlog.drop(Arrived)  # they were not acknowledged, and come again
                self._link.subscribe([f"{PREFIX}up/#"])
                self._conductor.announce_all()
                self._intake.renew(now.monotonic)
            case Disconnected():
                pass  # the link said why; all is said again after Connected
            case control.Asked():
                self._asked(item, now)
            case Woke():
                pass
            case _:
                assert_never(item)

    def _store_effects(self, item: Arrived | jobs.JobResult) -> bool:
        now = self._shortage.clock()
        self._deadlines.mind(now)
        if isinstance(item, Arrived):
            self._desk.take(item, now)
            self._waiting -= 1
            self._link.acknowledge(item)
        else:
            self._conductor.job_done(item, now)
            stay_in_budget(self._store, self._models, self._settings.storage.model_budget_mib * MIB)
        return False

    def _asked(self, asked: control.Asked, now: Instant) -> None:
        try:
            match asked.request:
                case control.CreateStudy(study=study):
                    studies.create(self._store, study, now.wall)
                case control.StartStudy(name=name):
                    self._conductor.start(name, now)
                case control.StopStudy(name=name, text=text):
                    self._conductor.stop(name, text, now)
                case control.AskStatus():
                    asked.reply(control.StatusAnswer(broker=_broker(self._link.status, now)))
                case _:
                    assert_never(asked.request)
        except UsageError as error:
            asked.reply(control.Problem(said=error.said))
        except NoSpaceError as error:
            asked.reply(control.Problem(said=error.said))
        else:
            asked.reply(control.Done())

    def _pump(self, now: Instant) -> None:
        """Grants, chunks and deadlines that are due; the next look is scheduled."""
        if now.monotonic >= self._next_tick:
            self._next_tick = now.monotonic + TICK_S
            self._backlog.catch_up()
            self._conductor.tick(now)
            if self._service:
                self._service.status(str(SERVING() if self._link.connected else SERVING_WITHOUT_BROKER()))
        for site, grant in self._intake.grants(now.monotonic) if self._link.connected else ():
            self._post.send(grant, site)
        wake = self._publish(now.monotonic)
        at = self._next_tick if wake is None else min(wake, self._next_tick)
        if self._timer:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(max(0.0, at - now.monotonic), self._wake)

    def _publish(self, now: float) -> float | None:
        try:
            return self._publisher.pump(now)
        except TransportError as error:
            tell(log, error.said)
            return None

    # --- sources ----------------------------------------------------------------------------------------------------

    def _put(self, item: Item) -> None:
        if isinstance(item, Arrived):
            if self._waiting >= WAITING:
                self._link.renew(TOO_MUCH_AT_ONCE())
                return
            self._waiting += 1
        self._inbox.put_nowait(item)

    def _wake(self) -> None:
        self._put(Woke())

    def _start_job(self, job: jobs.Job) -> None:
        self._tasks.create_task(self._work(job))

    async def _work(self, job: jobs.Job) -> None:
        name = job.study.name
        try:
            result = await asyncio.to_thread(jobs.perform, job, self._models, self._ending.is_set)
        except StorageError:
            if self._store.study(name).phase is StudyPhase.RUNNING:
                raise
            tell(log, JOB_OVERTAKEN(study=name), study=name)
            return
        self._put(result)


def _broker(link: LinkStatus, now: Instant) -> control.BrokerView:
    retry_at = None if link.retry_in_s is None else round(now.wall + link.retry_in_s)
    return control.BrokerView(
        connected=link.connected, since=link.since, reason=link.reason, retry_at=retry_at
    )


def _identity(settings: AggregatorSettings) -> tuple[Signer, Trust]:
    signer, trust = read_credentials(settings.broker, NOT_INITIALISED, datetime.now(UTC))
    if signer.identity != AGGREGATOR:
        raise ConfigurationError(NOT_AN_AGGREGATOR(path=settings.broker.certificate))
    return signer, trust


def _private_key(path: Path) -> bytes:
    """The X25519 key that updates are sealed to; made once."""
    if not path.exists():
        write_atomically(path, new_private_key())
    try:
        return path.read_bytes()
    except OSError as error:
        raise StorageError(NOT_READABLE(path=path, reason=error.strerror)) from error


def _first(group: BaseExceptionGroup[FedagentError]) -> FedagentError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if not isinstance(error, FedagentError):
        raise TypeError("not one of our errors") from group
    return error
