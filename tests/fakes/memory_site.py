# SPDX-License-Identifier: Apache-2.0
"""A site's daemon with its trainer: the real shell's steps without loop, process and disk.

Rule: it takes one item of its inbox when it is told to; what outlives its death is in ``SiteDisk``.
"""

import asyncio
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, cast

import msgspec
from typing_extensions import override

from fedagent.conditions.trainer import TRAINER_KILLED
from fedagent.core import events as on
from fedagent.core.agent import AnyEvent
from fedagent.core.approval import Approval, objection
from fedagent.core.facts import Facts
from fedagent.core.settings import BrokerSettings, GovernorSettings, Settings, SiteSettings, TrainerSettings
from fedagent.core.state import AgentState
from fedagent.security.identity import Identity
from fedagent.security.mail import Mail, open_mail
from fedagent.security.sealing import model_key_context, update_context
from fedagent.site import app as site_app
from fedagent.site.approvals import ApprovalFolder
from fedagent.site.hosting import Hosting, TrainerNews
from fedagent.site.performer import Performer
from fedagent.site.transfers import Transfers
from fedagent.storage.backlog import Backlog
from fedagent.storage.shortage import Shortage
from fedagent.transport.mailbox import Mailbox
from fedagent.transport.mqtt import MqttLink
from fedagent.transport.outbox import Outbox
from fedagent.wire import frames
from fedagent.wire import messages as m
from fedagent.wire.codec import encode
from fedagent.wire.manifest import Manifest, blob_digest
from fedagent.wire.topics import Role, round_topic
from tests.fakes.memory import (
    Disk,
    MemoryBlobs,
    MemoryLedger,
    site_database,
    tokens_of,
)
from tests.fakes.network import RECEIVE_MAXIMUM, seal, unseal
from tests.fakes.world import TRUST, WINDOW, World, signer_of

POLICY: Final = GovernorSettings(resume_after_s=1.0, pause_limit_s=30.0)


class SiteDisk:
    """What the site's daemon, its trainer and root have made durable, and the machine they run on."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.database = site_database()
        self.blobs = Disk()
        self.ledger = MemoryLedger()
        self.trainer_key = hashlib.sha256(name.encode()).digest()
        self.approvals: dict[str, Approval] = {}
        self.cpu_others, self.memory_mib = 0.0, 8192


class TrainerAction(msgspec.Struct, frozen=True):
    """One of the things that a trainer may do next."""

    do: Callable[[], None]
    fault: bool = False


class MemoryHosting(Hosting):
    """The trainer as its supervisor behaves: checks the job itself, trains, seals; a test says when."""

    def __init__(
        self, world: World, disk: SiteDisk, spool: MemoryBlobs, on_news: Callable[[TrainerNews], None]
    ) -> None:
        self._world, self._disk = world, disk
        self._spool: MemoryBlobs = spool
        self._on_news = on_news
        self.alive = self.came = self.frozen = self.asked = False
        self.job: m.Announcement | None = None
        self.waiting: frames.Job | None = None
        self.due: tuple[str, int] | None = None
        self.copies: list[tuple[frames.JobSealed, tuple[bytes, ...], Manifest]] = []
        self.copied: list[on.UpdateSpooled] = []
        self._untold = set()
        self.copying = False

    def actions(self) -> list[TrainerAction]:
        found = [TrainerAction(self._copy_one)] if self.copies and not self.copied else []
        found += [TrainerAction(self._tell_of_copy)] if self.copied else []
        if not self.alive:
            return found
        found.append(TrainerAction(self._die, fault=True))
        if not self.came:
            return [*found, TrainerAction(self._come)]
        if self.waiting is not None:
            found.append(TrainerAction(self._begin))
        if not self.frozen:
            if self.job is not None:
                found += [TrainerAction(self._seal), TrainerAction(self._progress)]
                found.append(TrainerAction(self._fail, fault=True))
            if self.asked:
                found.append(TrainerAction(self._checkpoint))
        return found

    @override
    def start(self) -> None:
        assert not self.alive
        self.alive, self.came = True, False
        self._forget()

    @override
    def give(self, job: frames.Job, model: Path, announcement: m.Announcement) -> None:
        if not self.alive:  # it died, and the news of it waits
            return
        self.due = announcement.study.name, announcement.round
        assert bytes.fromhex(str(model)) in self._spool.disk.whole
        self.waiting, self.job = job, None

    @override
    def freeze(self) -> None:
        self.frozen = True

    @override
    def thaw(self) -> None:
        self.frozen = False

    @override
    def ask_checkpoint(self) -> None:
        self.asked = True

    @override
    def stop_job(self, study: str, *, erase: bool) -> None:
        if self.due is not None and self.due[0] == study:
            self.due = None
        if self.job is not None and self.job.study.name == study:
            self.job = None
        if self.waiting is not None and self.waiting.study == study:
            self.waiting = None

    @override
    def close(self) -> None:
        self.alive = False
        self._forget()

    def _forget(self) -> None:
        self.frozen = self.asked = False
        self.job = self.waiting = self.due = None

    def _come(self) -> None:
        self.came = True
        ready = frames.Ready(
            version="0.1.0",
            control="process-group",
            supervisor_pid=100,
            worker_pid=101,
            trainer_key=self._disk.trainer_key,
        )
        self._on_news(on.TrainerCame(ready=ready))

    def _die(self) -> None:
        self.close()
        self._on_news(on.TrainerLost(reason=TRAINER_KILLED(signal="SIGKILL")))

    def _objection(self, announcement: m.Announcement) -> str:
        study = announcement.study
        approval = self._disk.approvals.get(study.name)
        against = objection(study, announcement.round, approval, announcement.round_kind)
        return str(against or self._disk.ledger.objection(announcement) or "")

    def _begin(self) -> None:
        """The supervisor trusts the daemon with nothing."""
        job, self.waiting = self.waiting, None
        assert job is not None
        mail = open_mail(job.announcement, topic=round_topic(job.study), trust=TRUST, now=datetime.now(UTC))
        announcement = mail.message
        assert isinstance(announcement, m.Announcement)
        reason, against = m.Reason.REVOKED, self._objection(announcement)
        context = model_key_context(job.study, announcement.round, self._disk.name, announcement.model.blob)
        unseal(self._disk.trainer_key, job.model_key, context=context)
        if against:
            refused = frames.JobRefused(
                study=job.study, round=announcement.round, reason=reason, text=against
            )
            self._on_news(on.TrainerSaid(frame=refused))
            return
        assert job.study in self._disk.approvals
        self._disk.ledger.begin(announcement)
        self.job = announcement

    def _progress(self) -> None:
        assert self.job is not None
        frame = frames.JobProgress(
            study=self.job.study.name, round=self.job.round, step=1, steps=2, checkpoint_step=1
        )
        self._on_news(on.TrainerSaid(frame=frame))

    def _checkpoint(self) -> None:
        self.asked = False
        self._on_news(on.TrainerSaid(frame=frames.CheckpointDone(step=1)))

    def _fail(self, reason: m.Reason = m.Reason.NOT_FINITE, text: str = "NaN, twice") -> None:
        assert self.job is not None
        frame = frames.JobFailed(study=self.job.study.name, round=self.job.round, reason=reason, text=text)
        self.job = None
        self._on_news(on.TrainerSaid(frame=frame))

    def _seal(self) -> None:
        assert self.job is not None
        job, against = self.job, self._objection(self.job)
        if against:
            self._fail(m.Reason.REVOKED, against)
            return
        study, name = job.study, self._disk.name
        self._disk.ledger.seal(job)
        self._world.network.act(name)
        key = self._world.fresh(name)
        if job.round_kind is m.RoundKind.EVALUATE:
            tokens: tuple[bytes, ...] = ()
            manifest = Manifest(size_bytes=0, chunk_bytes=study.chunk_bytes, chunks=())
        else:
            tokens, manifest = tokens_of(study, f"update {name} {study.name} {job.round} {key.hex()}")
            self._world.sealed[blob_digest(manifest)] = name, study.name, job.round, job.model.plaintext
        secret = m.UpdateSecret(key=key, rows=100, snapshot=bytes(32), metrics=())
        context = update_context(study.name, job.round, name)
        sealed = frames.JobSealed(
            study=study.name,
            round=job.round,
            chunk_bytes=study.chunk_bytes,
            secret=seal(job.aggregator_key, encode(secret), context=context),
            rows=100,
            snapshot=bytes(32),
            metrics=(),
            norm=1.0,
        )
        self.job = None
        if self.due == (study.name, job.round):
            self.due = None
            self.copies.append((sealed, tokens, manifest))

    def _copy_one(self) -> None:
        sealed, tokens, manifest = self.copies.pop(0)
        self.copying = True
        if manifest.size_bytes:
            self._spool.add(tokens, manifest)
        self.copied.append(on.UpdateSpooled(sealed=sealed, manifest=manifest))

    def _tell_of_copy(self) -> None:
        """The copying thread was done a moment ago."""
        news = self.copied.pop()
        self._untold.add(blob_digest(news.manifest))
        self.copying = False
        self._on_news(news)


class Approvals(ApprovalFolder):
    """Root's files, as a dictionary."""

    def __init__(self, disk: SiteDisk) -> None:
        self._disk = disk
        self._last: dict[str, Approval] | None = None

    @override
    def changed(self) -> dict[str, Approval] | None:
        if self._disk.approvals == self._last:
            return None
        self._last = dict(self._disk.approvals)
        return self._last


class MemoryDaemon(site_app.Daemon):
    """``Daemon`` from its disk; ``on_step`` sees each step's event, with the states before and after."""

    def __init__(
        self,
        world: World,
        disk: SiteDisk,
        on_step: Callable[["MemoryDaemon", AgentState, object], None],
    ) -> None:
        name = disk.name
        self.world, self.disk, self.on_step = world, disk, on_step
        self._settings = Settings(
            site=SiteSettings(name=name),
            broker=BrokerSettings(host="broker"),
            governor=POLICY,
            trainer=TrainerSettings(keep_warm_s=60.0),
        )
        self._inbox = asyncio.Queue()
        self._shortage = Shortage(world.now)
        self._backlog = Backlog(self._shortage, self._do)
        self._waiting, self._most_waiting = 0, 2 * RECEIVE_MAXIMUM
        self._database = disk.database
        self._mailbox = Mailbox(disk.database, signer_of(Identity(Role.SITE, name)), TRUST)
        self._outbox = Outbox(disk.database)
        self._blobs = MemoryBlobs(disk.blobs, lambda: world.network.act(name))
        self._approvals = Approvals(disk)
        link = world.network.attach(name, self._put)
        link.will = self._will
        self._link = cast("MqttLink", link)
        self._transfers = Transfers(
            self._blobs,
            self._link,
            site=name,
            window=WINDOW,
            ask=self._send,
            on_fetched=lambda study, blob: self._put(on.ModelFetched(study=study, blob=blob)),
            shortage=self._shortage,
        )
        self._hosting = self.hosting = MemoryHosting(world, disk, self._blobs, self._put)
        self._performer = Performer(
            self._link, self._blobs, self._transfers, self._hosting, self._send, self._outbox
        )
        self.state = self._saved = self._load()

    def _will(self) -> tuple[str, bytes]:
        return self._mailbox.seal(m.Presence(online=False, version="0.1.0", protocol=1))

    @property
    def busy(self) -> bool:
        return not self._inbox.empty()

    @override
    def _step(self, event: AnyEvent, mail: Mail | None = None) -> bool:
        before = self.state
        ended = super()._step(event, mail)
        self.on_step(self, before, event)
        return ended

    def consume(self) -> bool:
        """One item of the inbox; True when the daemon ends."""
        return self._take(self._inbox.get_nowait())

    def look(self) -> bool:
        """What ``_look`` does, with the machine that the disk describes."""
        now = self.world.now()
        approvals = self._approvals.changed()
        if approvals is not None:
            self._step(on.ApprovalsRead(approvals=approvals))
        self._transfers.wake(now.monotonic)
        facts = Facts(
            taken_at=now.monotonic,
            weekday=0,
            minute=720,
            cpu_count=8,
            cpu_others_ratio=self.disk.cpu_others,
            memory_available_mib=self.disk.memory_mib,
            disk_free_mib=100_000,
        )
        return self._step(on.Sampled(facts=facts))
