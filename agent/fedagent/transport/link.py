# SPDX-License-Identifier: Apache-2.0
"""What a transfer needs of a connection.

Rule: transfers know this Protocol and no more, so that they run against a fake link as against the real one.
"""

from collections.abc import Sequence
from typing import Protocol


class Link(Protocol):
    """A connection that comes and goes; see ``MqttLink``."""

    @property
    def connected(self) -> bool:
        """The broker has accepted us."""
        ...

    @property
    def unacknowledged(self) -> int:
        """Messages handed over that the broker has not acknowledged."""
        ...

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Hands a message over; dropped while disconnected."""
        ...

    def subscribe(self, topics: Sequence[str]) -> None:
        """Asks for these topics."""
        ...

    def unsubscribe(self, topics: Sequence[str]) -> None:
        """No more of these topics."""
        ...
