# SPDX-License-Identifier: Apache-2.0
"""Performs what the core decided, command by command.

Rule: no decision is made here.
"""

import logging
import time
from collections.abc import Callable, Iterable
from sqlite3 import Connection
from typing import assert_never

from fedagent.conditions.site import JOB_WITHOUT_ITS_MODEL
from fedagent.core import commands as do
from fedagent.core.state import AgentState
from fedagent.errors import StorageError
from fedagent.journal import tell
from fedagent.site.hosting import Hosting
from fedagent.site.transfers import Transfers
from fedagent.storage.blobs import BlobFolder
from fedagent.transport.mqtt import MqttLink
from fedagent.transport.outbox import Outbox
from fedagent.wire.messages import Message
from fedagent.wire.topics import round_topic

log = logging.getLogger("fedagent")


class Performer:
    """The hands of the daemon.

    Args:
        send: signs and publishes.
    """

    def __init__(
        self,
        link: MqttLink,
        blobs: BlobFolder,
        transfers: Transfers,
        hosting: Hosting,
        send: Callable[[Message], None],
        outbox: Outbox,
    ) -> None:
        self._link, self._blobs, self._transfers = link, blobs, transfers
        self._hosting, self._send, self._outbox = hosting, send, outbox

    def settle(self, connection: Connection, owed: Iterable[do.Post | do.Strike]) -> None:
        """Puts into and strikes from the outbox, in the step's transaction."""
        for command in owed:
            match command:
                case do.Post(key=key, message=message):
                    self._outbox.put(connection, key, message)
                case do.Strike(key=key):
                    self._outbox.remove(connection, key)

    def perform(self, command: do.Command, state: AgentState) -> None:
        """Does it.

        Raises:
            StorageError: a blob that the state names is not on disk.
        """
        match command:
            case do.Send(message=message) | do.Post(message=message):
                self._send(message)
            case do.RepeatOutbox():
                for _, owed, _ in self._outbox.messages():
                    self._send(owed)
            case do.FollowStudy(study=study):
                self._link.subscribe([round_topic(study)])
            case do.Tell():
                tell(log, command.said, study=command.study, round=command.round, reason=command.reason)
            case do.Fetch() | do.Grant() | do.DropBlobs():
                self._transfer(command, state)
            case do.StartTrainer() | do.GiveJob() | do.StopJob() | do.CloseTrainer():
                self._host(command, state)
            case _:
                self._brake(command)

    def _transfer(self, command: do.Fetch | do.Grant | do.DropBlobs, state: AgentState) -> None:
        match command:
            case do.Fetch(study=study, reference=reference):
                self._transfers.fetch(study, reference, time.monotonic())
            case do.Grant(study=study, chunks=chunks):
                offer = state.studies[study].offer
                if offer is not None:
                    self._transfers.grant(study, offer.manifest, chunks)
            case do.DropBlobs(keep=keep):
                self._transfers.keep(keep | self._hosting.untold, delete=not self._hosting.copying)

    def _host(
        self, command: do.StartTrainer | do.GiveJob | do.StopJob | do.CloseTrainer, state: AgentState
    ) -> None:
        match command:
            case do.StartTrainer():
                self._hosting.start()
            case do.GiveJob(job=job, model=model):
                path = self._blobs.path(model)
                if path is None:
                    raise StorageError(JOB_WITHOUT_ITS_MODEL(model=model.hex()[:12]))
                self._hosting.give(job, path, state.studies[job.study].announcement)
            case do.StopJob(study=study, erase=erase):
                self._hosting.stop_job(study, erase=erase)
            case do.CloseTrainer():
                self._hosting.close()
            case _:
                assert_never(command)

    def _brake(self, command: do.Command) -> None:
        match command:
            case do.Freeze():
                self._hosting.freeze()
            case do.Thaw():
                self._hosting.thaw()
            case do.AskCheckpoint():
                self._hosting.ask_checkpoint()
            case _:
                pass  # Strike is settled, Exit ends the consumer.
