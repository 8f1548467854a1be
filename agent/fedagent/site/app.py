# SPDX-License-Identifier: Apache-2.0
"""The site daemon's shell: builds the parts, feeds one inbox, performs what the core decides.

Rule: every source only puts events; one consumer steps the core, makes the step durable, then performs its commands.
Nothing is acknowledged before it is durable. What finds no room on the disk waits, in order, with the state as it was; only
what a restart would find anew goes on meanwhile, so that a full disk never keeps the machine from its owner.
"""

import asyncio
import logging
import secrets
import signal
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, assert_never, get_args

import msgspec

from fedagent import VERSION
from fedagent.conditions.broker import TOO_MUCH_AT_ONCE
from fedagent.conditions.messages import FOR_ANOTHER_SITE, MESSAGE_REFUSED, NOT_FROM_THE_AGGREGATOR
from fedagent.conditions.site import (
    DISPLACED,
    JOB_OVER_UNSTORED,
    JUST_STARTED,
    NOT_ENROLLED,
    OTHER_SITES_CERTIFICATE,
    SETTINGS_UNCHANGED,
    SITE_READY,
)
from fedagent.core import agent
from fedagent.core import commands as do
from fedagent.core import events as on
from fedagent.core.facts import Instant
from fedagent.core.governor import Objection, Rung, Standing
from fedagent.core.settings import Settings
from fedagent.core.state import AgentState, Stage, TrainerState
from fedagent.errors import ConfigurationError, NoSpaceError, WireError
from fedagent.host.sampler import Sampler
from fedagent.host.service import ServiceStatus
from fedagent.journal import tell
from fedagent.security.certificates import Signer, Trust
from fedagent.security.identity import Identity
from fedagent.security.mail import Mail
from fedagent.site import control, operator, store
from fedagent.site.approvals import ApprovalFolder
from fedagent.site.hosting import Hosting
from fedagent.site.performer import Performer
from fedagent.site.transfers import Transfers
from fedagent.storage.backlog import Backlog
from fedagent.storage.blobs import BlobFolder
from fedagent.storage.files import make_open_folder, make_private_folder
from fedagent.storage.room import MIB
from fedagent.storage.settings import read_settings
from fedagent.storage.shortage import Shortage
from fedagent.transport.credentials import read_credentials
from fedagent.transport.mailbox import Mailbox
from fedagent.transport.mqtt import Arrived, Connected, Disconnected, MqttEvent, MqttLink
from fedagent.transport.outbox import Outbox
from fedagent.wire.frames import JobProgress
from fedagent.wire.messages import AggregatorMessage, Message, Presence
from fedagent.wire.topics import PREFIX, Role, aggregator_branch
from fedagent.wire.values import PROTOCOL

AGGREGATOR_MESSAGES: Final = get_args(AggregatorMessage)

log = logging.getLogger(__name__)

INSTANCE_BYTES: Final = 32

INBOX: Final = 4096
"""More than the broker, the trainer and the operators can have under way at once; a full inbox is an error of ours."""

ACTIVE_SAMPLE_S: Final = 0.1
PARKED_SAMPLE_S: Final = 1.0
CONTROL_MESSAGES: Final = 16
"""Room for control messages beside a window of chunks in the broker's receive maximum."""


class Tick(msgspec.Struct, frozen=True):
    """Time to look at the machine."""


class Reload(msgspec.Struct, frozen=True):
    """SIGHUP: read the settings anew."""


Item = agent.AnyEvent | MqttEvent | control.Asked | Tick | Reload

AT_ONCE: Final = (Tick, Reload, Connected, Disconnected, control.Asked, on.StopAsked)
"""What never waits behind something that could not be stored."""

_STATE: Final = "state"
"""What waits for room."""


def instant() -> Instant:
    """Now, by both clocks."""
    return Instant(monotonic=time.monotonic(), wall=time.time_ns() / 1e9)


class Daemon:
    """One site's daemon, from its settings to its end."""

    def __init__(self, settings: Settings, config: Path) -> None:
        """Loads the local state; the network is not waited for.

        Args:
            config: where the settings were read; the trainer reads the same file itself.

        Raises:
            ConfigurationError: certificate, key or CA are not usable, or not this site's.
            StorageError: the state is damaged or of a newer version.
        """
        self._settings, self._config = settings, config
        folder = make_private_folder(Path(settings.paths.state))
        self._control = control.socket_path(make_open_folder(Path(settings.paths.runtime)))
        self._database = store.open_database(folder)
        self._mailbox = Mailbox(self._database, *load_identity(settings))
        self._outbox = Outbox(self._database)
        self._shortage = Shortage(instant)
        self._backlog: Backlog[Item] = Backlog(self._shortage, self._do)
        free, budget = settings.governor.disk_free_mib * MIB, settings.transfer.blob_budget_mib * MIB
        self._blobs = BlobFolder(folder / "blobs", reserve_bytes=free, budget_bytes=budget)
        self._inbox: asyncio.Queue[Item] = asyncio.Queue(INBOX)
        self._sampler = Sampler(Path("/"), (folder, Path(settings.paths.trainer_state)))
        self._approvals = ApprovalFolder(Path(settings.paths.approvals))
        self._service = ServiceStatus()
        self._waiting, self._most_waiting = 0, 2 * (settings.transfer.window + CONTROL_MESSAGES)
        self._link = self._make_link()
        self._transfers = self._make_transfers()
        self._link.on_room = self._transfers.pump
        self._hosting = Hosting(settings, config, self._blobs, self._put, self._shortage)
        self._performer = Performer(
            self._link, self._blobs, self._transfers, self._hosting, self._send, self._outbox
        )
        self.state = self._saved = self._load()

    def _make_link(self) -> MqttLink:
        return MqttLink(
            self._settings.broker,
            client_id=self._settings.site.name,
            receive_maximum=self._settings.transfer.window + CONTROL_MESSAGES,
            will=lambda: self._mailbox.seal(Presence(online=False, version=VERSION, protocol=PROTOCOL)),
            on_event=self._put,
        )

    def _make_transfers(self) -> Transfers:
        return Transfers(
            self._blobs,
            self._link,
            site=self._settings.site.name,
            window=self._settings.transfer.window,
            ask=self._send,
            on_fetched=lambda study, blob: self._put(on.ModelFetched(study=study, blob=blob)),
            shortage=self._shortage,
        )

    def _load(self) -> AgentState:
        studies, record = store.load(self._database)
        just_started = Objection(rung=Rung.PAUSE, signal="facts", said=JUST_STARTED())
        now = instant()
        state = AgentState(
            site=self._settings.site.name,
            policy=self._settings.governor,
            observe=self._settings.mode == "observe",
            keep_warm_s=self._settings.trainer.keep_warm_s,
            standing=Standing(go=False, objection=just_started, since=now.wall),
            studies=studies,
            trainer=TrainerState(since=now.monotonic),
            record=record,
            instance=secrets.token_bytes(INSTANCE_BYTES),
        )
        return agent.resumed(state, self._blobs.digests(), now)

    async def run(self) -> None:
        """Serves until SIGTERM or SIGINT.

        Raises:
            ConfigurationError: another machine runs as this site.
        """
        server = await control.serve(self._control, self._put)
        self._watch_signals()
        broker = self._settings.broker
        known = len(self.state.studies)
        tell(log, SITE_READY(site=self.state.site, studies=known, host=broker.host, port=broker.port))
        try:
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(self._link.run()), tasks.create_task(self._hosting.run())]
                self._put(Tick())
                self._service.ready()
                await self._consume()
                self._service.stopping()
                await self._hosting.wait_closed()
                for task in running:
                    task.cancel()
        finally:
            server.close()
            self._control.unlink(missing_ok=True)
            self._database.close()
        if self.state.displaced:
            raise ConfigurationError(DISPLACED(site=self.state.site))

    def _watch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._put, on.StopAsked())
        loop.add_signal_handler(signal.SIGINT, self._put, on.StopAsked())
        loop.add_signal_handler(signal.SIGHUP, self._put, Reload())

    def _put(self, item: Item) -> None:
        """Into the inbox. A broker that ignores our receive maximum gets a new connection, not our memory."""
        if isinstance(item, Arrived):
            if self._waiting >= self._most_waiting:
                self._link.renew(TOO_MUCH_AT_ONCE())
                return
            self._waiting += 1
        self._inbox.put_nowait(item)

    # --- the one consumer -------------------------------------------------------------------------------------------

    async def _consume(self) -> None:
        """Takes items until one leaves nothing to do."""
        while not self._take(await self._inbox.get()):
            pass

    def _take(self, item: Item) -> bool:
        """One item, or its turn comes later; True when the daemon has nothing left to do."""
        progress = isinstance(item, on.TrainerSaid) and isinstance(item.frame, JobProgress)
        return self._do(item) if progress or isinstance(item, AT_ONCE) else self._backlog.take(item)

    def _do(self, item: Item) -> bool:
        match item:
            case Tick():
                return self._look()
            case Arrived() | Connected() | Disconnected():
                return self._hear_broker(item)
            case control.Asked():
                return self._answer(item)
            case Reload():
                return self._reload()
            case on.UpdateSpooled():
                return self._spooled(item)
            case _:
                return self._step(item)

    def _hear_broker(self, event: MqttEvent) -> bool:
        match event:
            case Arrived():
                return self._receive(event)
            case Connected():
                self._waiting -= self._backlog.drop(Arrived)  # they were not acknowledged, and come again
                self._link.subscribe([aggregator_branch(self.state.site)])
                return self._step(on.Connected())
            case Disconnected(reason=reason):
                return self._step(on.Disconnected(reason=reason))
            case _:
                assert_never(event)

    def _step(self, event: agent.AnyEvent, mail: Mail | None = None) -> bool:
        """One step: decided, durable, performed. True when the daemon has nothing left to do.

        Raises:
            NoSpaceError: it cannot be made durable, and must be; nothing has changed.
        """
        after, commands = agent.step(self.state, event, instant())
        owed = [each for each in commands if isinstance(each, do.Post | do.Strike)]
        heard = mail is not None and store.changed(self.state, after)
        if owed or heard or isinstance(event, on.PauseAsked | on.ResumeAsked):
            try:
                self._save(after, owed, mail)
            except NoSpaceError:
                if any(isinstance(command, do.StopJob | do.CloseTrainer) for command in commands):
                    self._hosting.dismiss(JOB_OVER_UNSTORED())
                raise
        elif store.changed(self._saved, after) and not self._shortage.waits(_STATE):
            self._try_to_save(after)
        self.state = after
        for command in commands:
            self._performer.perform(command, self.state)
        return any(isinstance(command, do.Exit) for command in commands)

    def _save(self, after: AgentState, owed: list[do.Post | do.Strike], mail: Mail | None) -> None:
        with self._database.transaction() as connection:
            store.save(connection, self._saved, after)
            self._performer.settle(connection, owed)
            if mail is not None:
                self._mailbox.remember(connection, mail)
        self._saved = after
        self._shortage.over(_STATE)

    def _try_to_save(self, after: AgentState) -> None:
        """Nobody was told of this change, and a restart would make it anew: the trainer's stages, counters, a model that came."""
        try:
            self._save(after, [], None)
        except NoSpaceError as error:
            self._shortage.met(_STATE, error)

    def _spooled(self, event: on.UpdateSpooled) -> bool:
        self._hosting.told(event.manifest)
        try:
            return self._step(event)
        except NoSpaceError:
            self._hosting.not_told(event.manifest)
            raise

    def _look(self) -> bool:
        """A sample of the machine, the approvals where they changed, and what is overdue."""
        now = instant()
        parked = self.state.trainer.stage in (Stage.ABSENT, Stage.IDLE)
        asyncio.get_running_loop().call_later(
            PARKED_SAMPLE_S if parked else ACTIVE_SAMPLE_S, self._put, Tick()
        )
        approvals = self._approvals.changed()
        if approvals is not None:
            self._take(on.ApprovalsRead(approvals=approvals))
        self._transfers.wake(now.monotonic)
        ended = self._step(on.Sampled(facts=self._sampler.sample(now))) or self._backlog.catch_up()
        self._service.status(operator.summary(self.state))
        return ended

    def _receive(self, arrived: Arrived) -> bool:
        """A message: verified, stepped, made durable, then acknowledged. One that is wrong changes nothing."""
        ended = False
        try:
            if arrived.topic.startswith(f"{PREFIX}all/blob/"):
                self._transfers.arrived(arrived, time.monotonic())
            else:
                ended = self._open(arrived)
        except WireError as error:
            tell(log, MESSAGE_REFUSED(topic=arrived.topic, reason=error), topic=arrived.topic)
            self._step(on.MessageRefused(said=error.said))
        self._waiting -= 1
        self._link.acknowledge(arrived)
        return ended

    def _open(self, arrived: Arrived) -> bool:
        mail = self._mailbox.open(arrived.topic, arrived.payload, datetime.now(UTC))
        if mail is None:
            return False
        if mail.address.site not in (None, self.state.site):
            raise WireError(FOR_ANOTHER_SITE(), "topic")
        if not isinstance(mail.message, AGGREGATOR_MESSAGES):
            raise WireError(NOT_FROM_THE_AGGREGATOR(), "topic")
        try:
            return self._step(on.MessageArrived(message=mail.message, payload=arrived.payload), mail)
        except NoSpaceError:
            self._mailbox.forget(mail)
            raise

    def _answer(self, asked: control.Asked) -> bool:
        answer, event = operator.answer(self.state, asked, self._link, instant(), self._shortage)
        ended = False
        try:
            ended = self._step(event) if event is not None else False
        except NoSpaceError as error:
            answer = control.Problem(said=error.said)
        if not asked.answer.done():
            asked.answer.set_result(answer)
        return ended

    def _reload(self) -> bool:
        """Load, validate, swap; or keep the old settings and say why."""
        self._service.reloading()
        ended = self._read_anew()
        self._service.ready()
        return ended

    def _read_anew(self) -> bool:
        try:
            settings = read_settings(self._config)
        except ConfigurationError as error:
            tell(log, SETTINGS_UNCHANGED(reason=error))
            return False
        self._blobs.reserve_bytes = settings.governor.disk_free_mib * MIB
        return self._step(on.PolicyChanged(policy=settings.governor))

    def _send(self, message: Message) -> None:
        topic, payload = self._mailbox.seal(message)
        self._link.publish(topic, payload, retain=isinstance(message, Presence))


def load_identity(settings: Settings) -> tuple[Signer, Trust]:
    """This site's signer, and whom it trusts.

    Raises:
        ConfigurationError: a file is missing or wrong, or the certificate is another site's.
    """
    signer, trust = read_credentials(settings.broker, NOT_ENROLLED, datetime.now(UTC))
    if signer.identity != Identity(Role.SITE, settings.site.name):
        path, other, name = settings.broker.certificate, signer.identity.name, settings.site.name
        raise ConfigurationError(OTHER_SITES_CERTIFICATE(path=path, other=other, name=name))
    return signer, trust
