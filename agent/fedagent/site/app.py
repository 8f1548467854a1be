# SPDX-License-Identifier: Apache-2.0
"""The site daemon's shell: builds the parts, feeds one inbox, performs what the core decides.

Rule: every source only puts events; one consumer steps the core, makes the step durable, then performs its commands.
Nothing is acknowledged before it is durable.
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
from fedagent.conditions.site import DISPLACED
from fedagent.core import agent
from fedagent.core import commands as do
from fedagent.core import events as on
from fedagent.core.facts import Instant
from fedagent.core.governor import Objection, Rung, Standing
from fedagent.core.settings import Settings
from fedagent.core.state import AgentState, Stage
from fedagent.errors import ConfigurationError, WireError
from fedagent.host.sampler import Sampler
from fedagent.host.service import ServiceStatus
from fedagent.security.certificates import Signer, Trust
from fedagent.security.identity import Identity
from fedagent.security.mail import Mail
from fedagent.site import control, operator, store
from fedagent.site.approvals import ApprovalFolder
from fedagent.site.hosting import Hosting
from fedagent.site.performer import Performer
from fedagent.site.transfers import Transfers
from fedagent.storage.blobs import BlobFolder
from fedagent.storage.files import make_private_folder
from fedagent.storage.settings import read_settings
from fedagent.transport.mailbox import Mailbox
from fedagent.transport.mqtt import Arrived, Connected, Disconnected, MqttEvent, MqttLink
from fedagent.transport.outbox import Outbox
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
        self._control = control.socket_path(make_runtime_folder(Path(settings.paths.runtime)))
        self._database = store.open_database(folder)
        self._mailbox = Mailbox(self._database, *load_identity(settings))
        self._outbox = Outbox(self._database)
        self._blobs = BlobFolder(folder / "blobs")
        self._inbox: asyncio.Queue[Item] = asyncio.Queue(INBOX)
        self._sampler = Sampler(Path("/"))
        self._approvals = ApprovalFolder(Path(settings.paths.approvals))
        self._service = ServiceStatus()
        self._waiting, self._most_waiting = 0, 2 * (settings.transfer.window + CONTROL_MESSAGES)
        self._link = self._make_link()
        self._transfers = self._make_transfers()
        self._link.on_room = self._transfers.pump
        self._hosting = Hosting(settings, config, self._blobs, self._put)
        self._performer = Performer(
            self._link, self._blobs, self._transfers, self._hosting, self._send, self._outbox
        )
        self.state = self._load()

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
        )

    def _load(self) -> AgentState:
        studies, record = store.load(self._database)
        just_started = Objection(rung=Rung.PAUSE, signal="facts", text="the daemon has just started")
        now = instant()
        state = AgentState(
            site=self._settings.site.name,
            policy=self._settings.governor,
            observe=self._settings.mode == "observe",
            keep_warm_s=self._settings.trainer.keep_warm_s,
            standing=Standing(go=False, objection=just_started, since=now.wall),
            studies=studies,
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
        log.info(
            "site %s, %d studies known, broker %s:%d",
            self.state.site,
            len(self.state.studies),
            broker.host,
            broker.port,
        )
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
                self._link.renew("the broker sent more messages than we said we take at once")
                return
            self._waiting += 1
        self._inbox.put_nowait(item)

    # --- the one consumer -------------------------------------------------------------------------------------------

    async def _consume(self) -> None:
        """Takes items until one leaves nothing to do."""
        while not self._take(await self._inbox.get()):
            pass

    def _take(self, item: Item) -> bool:
        """One item; True when the daemon has nothing left to do."""
        match item:
            case Tick():
                return self._look()
            case Arrived() | Connected() | Disconnected():
                return self._hear_broker(item)
            case control.Asked():
                return self._answer(item)
            case Reload():
                return self._reload()
            case on.UpdateSpooled(manifest=manifest):
                self._hosting.told(manifest)
                return self._step(item)
            case _:
                return self._step(item)

    def _hear_broker(self, event: MqttEvent) -> bool:
        match event:
            case Arrived():
                return self._receive(event)
            case Connected():
                self._link.subscribe([aggregator_branch(self.state.site)])
                return self._step(on.Connected())
            case Disconnected(reason=reason):
                return self._step(on.Disconnected(reason=reason))
            case _:
                assert_never(event)

    def _step(self, event: agent.AnyEvent, mail: Mail | None = None) -> bool:
        """One step: decided, durable, performed. True when the daemon has nothing left to do."""
        before = self.state
        self.state, commands = agent.step(before, event, instant())
        owed = [each for each in commands if isinstance(each, do.Post | do.Strike)]
        if owed or store.changed(before, self.state):
            with self._database.transaction() as connection:
                store.save(connection, before, self.state)
                self._performer.settle(connection, owed)
                if mail is not None:
                    self._mailbox.remember(connection, mail)
        for command in commands:
            self._performer.perform(command, self.state)
        return any(isinstance(command, do.Exit) for command in commands)

    def _look(self) -> bool:
        """A sample of the machine, the approvals where they changed, and what is overdue."""
        now = instant()
        parked = self.state.trainer.stage in (Stage.ABSENT, Stage.IDLE)
        asyncio.get_running_loop().call_later(
            PARKED_SAMPLE_S if parked else ACTIVE_SAMPLE_S, self._put, Tick()
        )
        approvals = self._approvals.changed()
        if approvals is not None:
            self._step(on.ApprovalsRead(approvals=approvals))
        self._transfers.wake(now.monotonic)
        ended = self._step(on.Sampled(facts=self._sampler.sample(now)))
        self._service.status(operator.summary(self.state))
        return ended

    def _receive(self, arrived: Arrived) -> bool:
        """A message: verified, stepped, made durable, then acknowledged. One that is wrong changes nothing."""
        self._waiting -= 1
        ended = False
        try:
            if arrived.topic.startswith(f"{PREFIX}all/blob/"):
                self._transfers.arrived(arrived, time.monotonic())
            else:
                ended = self._open(arrived)
        except WireError as error:
            log.warning("refused a message on %s: %s", arrived.topic, error)
        self._link.acknowledge(arrived)
        return ended

    def _open(self, arrived: Arrived) -> bool:
        mail = self._mailbox.open(arrived.topic, arrived.payload, datetime.now(UTC))
        if mail is None:
            return False
        if mail.address.site not in (None, self.state.site):
            raise WireError("the message is for another site", "topic")
        if not isinstance(mail.message, AGGREGATOR_MESSAGES):
            raise WireError("only the aggregator speaks to a site", "topic")
        return self._step(on.MessageArrived(message=mail.message, payload=arrived.payload), mail)

    def _answer(self, asked: control.Asked) -> bool:
        answer, event = operator.answer(self.state, asked, self._link, instant())
        ended = self._step(event) if event is not None else False
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
            log.error("the settings stay as they were: %s", error)  # noqa: TRY400 (a person must act; no traceback)
            return False
        return self._step(on.PolicyChanged(policy=settings.governor))

    def _send(self, message: Message) -> None:
        topic, payload = self._mailbox.seal(message)
        self._link.publish(topic, payload, retain=isinstance(message, Presence))


def load_identity(settings: Settings) -> tuple[Signer, Trust]:
    """This site's signer, and whom it trusts.

    Raises:
        ConfigurationError: a file is missing or wrong, or the certificate is another site's.
    """
    broker = settings.broker
    try:
        certificate, key, ca = (
            Path(name).read_bytes() for name in (broker.certificate, broker.key, broker.ca)
        )
    except OSError as error:
        raise ConfigurationError(
            f"cannot read {error.filename}: {error.strerror}; has this site joined (fedagent enroll --request)?"
        ) from error
    signer = Signer(certificate, key)
    if signer.identity != Identity(Role.SITE, settings.site.name):
        raise ConfigurationError(
            f"{broker.certificate} is the certificate of {signer.identity.name!r}, but site.name is {settings.site.name!r}"
        )
    return signer, Trust(ca)


def make_runtime_folder(path: Path) -> Path:
    """The folder of the control socket: everybody may enter it.

    Raises:
        StorageError: it cannot be made.
    """
    make_private_folder(path).chmod(0o755)
    return path
