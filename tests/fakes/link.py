# SPDX-License-Identifier: Apache-2.0
"""A link that a test holds in its hands: it keeps what is handed over, and room comes when the test gives it."""

from collections.abc import Sequence


class FakeLink:
    """Connected from the start.

    Attributes:
        sent: topic and payload of what was published, in order.
        topics: what is subscribed now.
        said: every publish, subscribe and unsubscribe, in order.
    """

    def __init__(self) -> None:
        self.connected = True
        self.unacknowledged = 0
        self.sent: list[tuple[str, bytes]] = []
        self.topics: set[str] = set()
        self.said: list[tuple[str, str]] = []

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        if self.connected:
            self.sent.append((topic, payload))
            self.said.append(("publish", topic))
            self.unacknowledged += 1

    def subscribe(self, topics: Sequence[str]) -> None:
        self.topics.update(topics)
        self.said += [("subscribe", topic) for topic in topics]

    def unsubscribe(self, topics: Sequence[str]) -> None:
        self.topics.difference_update(topics)
        self.said += [("unsubscribe", topic) for topic in topics]

    def take(self) -> list[tuple[str, bytes]]:
        """What was published since the last call; all of it is acknowledged."""
        taken, self.sent = self.sent, []
        self.unacknowledged = 0
        return taken
