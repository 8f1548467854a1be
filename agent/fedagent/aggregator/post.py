# SPDX-License-Identifier: Apache-2.0
"""Seals and publishes what the aggregator says.

Rule: nothing here decides or is durable; while the broker is away everything is dropped, because after ``Connected`` it
is all said again from the store.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from fedagent import VERSION
from fedagent.conditions.condition import Said
from fedagent.errors import TransportError
from fedagent.journal import tell
from fedagent.transport import link as transport
from fedagent.transport.events import Arrived
from fedagent.transport.mailbox import Mailbox
from fedagent.transport.outage import LinkStatus
from fedagent.transport.outbox import Outbox
from fedagent.wire.messages import AggregatorHello, AggregatorMessage, Announcement, Message, OpenStudy
from fedagent.wire.values import PROTOCOL

log = logging.getLogger(__name__)

_HELLO_STUDIES = 256


class Link(transport.Link, Protocol):
    """What the aggregator needs of the connection to the broker; see ``MqttLink``."""

    on_room: Callable[[], None]

    @property
    def status(self) -> LinkStatus:
        """What people are shown."""
        ...

    def acknowledge(self, event: Arrived) -> None:
        """The broker may forget this message."""
        ...

    def renew(self, reason: Said) -> None:
        """Breaks the connection: the broker sends again what was not acknowledged."""
        ...

    async def run(self) -> None:
        """Connects and serves until cancelled."""
        ...


class Post:
    """Sends messages to sites."""

    def __init__(self, link: Link, mailbox: Mailbox, outbox: Outbox) -> None:
        """Sends nothing yet."""
        self._link, self.mailbox, self.outbox = link, mailbox, outbox

    def send(self, message: AggregatorMessage, site: str) -> None:
        """One message to one site."""
        self._publish(message, site)

    def announce(self, announcement: Announcement) -> None:
        """Retained, to all."""
        self._publish(announcement, None)

    def hello(self, site: str, studies: Sequence[OpenStudy]) -> None:
        """Says which open studies name the site."""
        message = AggregatorHello(version=VERSION, protocol=PROTOCOL, studies=tuple(studies[:_HELLO_STUDIES]))
        self._publish(message, site)

    def repeat(self, site: str | None = None) -> None:
        """Sends again what is owed to this site, or to all."""
        for _, message, addressee in self.outbox.messages():
            if addressee is not None and site in (None, addressee):
                self._publish(message, addressee)

    def _publish(self, message: Message, site: str | None) -> None:
        if not self._link.connected:
            return
        topic, payload = self.mailbox.seal(message, site=site)
        try:
            self._link.publish(topic, payload, retain=isinstance(message, Announcement))
        except TransportError as error:
            tell(log, error.said)
