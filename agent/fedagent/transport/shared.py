# SPDX-License-Identifier: Apache-2.0
"""A global model on its way to every site: each chunk once for all who want it now.

Rule: nothing is kept for a site but the numbers that it asked for and when; a site that asks late gets its own.
"""

import logging
from collections.abc import Callable
from typing import Final

from fedagent.conditions.messages import WANTED_IS_ABSENT
from fedagent.errors import WireError
from fedagent.journal import tell
from fedagent.transport.link import Link
from fedagent.wire.topics import chunk_topic, manifest_topic

log = logging.getLogger(__name__)

GATHER_S: Final = 0.05
"""How long a chunk waits for the other sites: without it, 8 sites take 1.5 times as many chunks."""

ACTIVE_S: Final = 1.0
"""A site that asked within that time moves with the others, so a chunk waits for it."""

ASKS: Final = 64
"""Most chunks that one site may have asked for and not got: the largest window."""

_MANIFEST: Final = -1


class _Ask:
    """One chunk that somebody waits for."""

    def __init__(self, since: float) -> None:
        self.since = since
        self.sites: set[str] = set()


class SharedPublisher:
    """Publishes what sites want. Times are monotonic seconds.

    Args:
        read_chunk, read_manifest: give a blob's bytes, or raise ``WireError`` where there are none.
        window: messages handed to the link at once.
    """

    def __init__(
        self,
        link: Link,
        read_chunk: Callable[[bytes, int], bytes],
        read_manifest: Callable[[bytes], bytes],
        window: int,
        gather_s: float = GATHER_S,
    ) -> None:
        self._link, self._window, self._gather_s = link, window, gather_s
        self._read_chunk, self._read_manifest = read_chunk, read_manifest
        self._asks: dict[tuple[bytes, int], _Ask] = {}
        self._last_asked: dict[bytes, dict[str, float]] = {}

    def want(self, site: str, blob: bytes, chunks: tuple[int, ...], now: float) -> None:
        """The site has subscribed to these chunks; none means the manifest."""
        self._last_asked.setdefault(blob, {})[site] = now
        room = ASKS - sum(site in ask.sites for ask in self._asks.values())
        for index in (chunks or (_MANIFEST,))[: max(room, 0)]:
            self._asks.setdefault((blob, index), _Ask(now)).sites.add(site)

    def gone(self, site: str) -> None:
        """The site is offline: nothing waits for it."""
        for key, ask in list(self._asks.items()):
            ask.sites.discard(site)
            if not ask.sites:
                del self._asks[key]
        for sites in self._last_asked.values():
            sites.pop(site, None)

    def pump(self, now: float) -> float | None:
        """Publishes what is ripe, as far as the link has room.

        Returns:
            When to call again although nothing happens; None when only a new want, or room, matters.

        Raises:
            StorageError: a blob cannot be read.
            TransportError: a chunk is larger than the broker takes.
        """
        if not self._link.connected:
            self._asks.clear()  # the sites' subscriptions may be gone as well: they will ask again
            return None
        self._forget_inactive(now)
        while self._link.unacknowledged < self._window:
            key = self._ripe(now)
            if key is None:
                return min((ask.since + self._gather_s for ask in self._asks.values()), default=None)
            del self._asks[key]
            self._publish(*key)
        return None

    def _ripe(self, now: float) -> tuple[bytes, int] | None:
        for (blob, index), ask in self._asks.items():
            everybody = self._last_asked.get(blob, {}).keys() <= ask.sites
            if index == _MANIFEST or everybody or now - ask.since >= self._gather_s:
                return blob, index
        return None

    def _publish(self, blob: bytes, index: int) -> None:
        try:
            if index == _MANIFEST:
                topic, payload = manifest_topic(blob), self._read_manifest(blob)
            else:
                topic, payload = chunk_topic(blob, index), self._read_chunk(blob, index)
        except WireError as error:
            tell(log, WANTED_IS_ABSENT(reason=error))
            return
        self._link.publish(topic, payload)

    def _forget_inactive(self, now: float) -> None:
        for blob, sites in list(self._last_asked.items()):
            active = {site: at for site, at in sites.items() if now - at < ACTIVE_S}
            if active:
                self._last_asked[blob] = active
            else:
                del self._last_asked[blob]
