# SPDX-License-Identifier: Apache-2.0
"""A global model on its way to this site: the manifest first, then a window of chunks at a time.

Rule: a topic is subscribed before it is asked for, since nothing is retained: what is published earlier is lost.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from fedagent.conditions.messages import BLOB_SIZE, NOT_THE_MANIFEST
from fedagent.errors import WireError
from fedagent.storage.blobs import BlobFolder, PartialBlob
from fedagent.storage.failpoints import Failpoint, reach
from fedagent.transport.link import Link
from fedagent.wire.codec import decode
from fedagent.wire.manifest import Manifest
from fedagent.wire.messages import ModelReference
from fedagent.wire.topics import OFFER_BYTES, chunk_topic, manifest_topic

SILENCE_S: Final = (2.0, 60.0)
"""After that long without a chunk it asks again; doubling, to the second."""


class Download:
    """One blob, until ``done`` has its path. Times are monotonic seconds.

    Args:
        ask: sends a ``Want`` for these chunks; none means the manifest.
        window: chunks under way at once.
    """

    def __init__(
        self,
        reference: ModelReference,
        folder: BlobFolder,
        link: Link,
        *,
        ask: Callable[[tuple[int, ...]], None],
        window: int,
    ) -> None:
        self._reference, self._folder, self._link = reference, folder, link
        self._ask, self._window = ask, window
        self._partial: PartialBlob | None = None
        self._asked: set[int] = set()
        self._subscribed: set[str] = set()
        self._next = 0
        self._silence_s = SILENCE_S[0]
        self._due: float | None = None
        self.done: Path | None = None

    @property
    def fraction(self) -> float:
        """How much of the blob is here, 0 to 1."""
        if self.done:
            return 1.0
        if self._partial is None:
            return 0.0
        total = len(self._partial.manifest.chunks)
        return 1.0 - len(self._partial.missing()) / total if total else 1.0

    def start(self, now: float) -> None:
        """Goes on with what is on the disk, and asks for the rest."""
        self.done = self._folder.path(self._reference.blob)
        if self.done:
            return
        manifest = self._folder.manifest(self._reference.blob)
        if manifest:
            self._open(manifest)
        self.resume(now)

    def resume(self, now: float) -> None:
        """The connection is a new one: subscribes and asks again."""
        if self.done:
            return
        self._unsubscribe_all_but(frozenset())  # the broker's session may have kept them
        self._asked.clear()
        self._next = 0
        self._heard(now)
        if self._partial is None:
            self._ask_manifest()
        else:
            self._refill()

    def close(self) -> None:
        """Nobody waits for the blob any more: its topics are given up; what came stays on the disk."""
        self._due = None
        self._unsubscribe_all_but(frozenset())

    def arrived(self, topic: str, payload: bytes, now: float) -> None:
        """Takes a message on one of this blob's topics; a repeat does no harm.

        Raises:
            WireError: not what the reference or the manifest says; nothing was changed.
            StorageError: no space.
        """
        if self.done or topic not in self._subscribed:
            return
        if topic == manifest_topic(self._reference.blob):
            self._take_manifest(payload, now)
        elif self._partial:
            self._take_chunk(self._partial, int(topic.rpartition("/")[2]), payload, now)

    def wake(self, now: float) -> float | None:
        """Asks again after silence; gives the time of the next look, None when there is nothing to wait for."""
        if self.done or self._due is None:
            return None
        if now >= self._due:
            self._silence_s = min(2 * self._silence_s, SILENCE_S[1])
            self._due = now + self._silence_s
            if self._partial is None:
                self._ask_manifest()
            elif self._asked:
                self._subscribe([chunk_topic(self._reference.blob, index) for index in sorted(self._asked)])
                self._ask(tuple(sorted(self._asked)))
        return self._due

    def _take_manifest(self, payload: bytes, now: float) -> None:
        if self._partial:
            return
        if hashlib.sha256(payload).digest() != self._reference.blob:
            raise WireError(NOT_THE_MANIFEST(blob=self._reference.blob.hex()[:12]), "manifest")
        self._open(decode(payload, Manifest, limit_bytes=OFFER_BYTES))
        self._heard(now)
        self._refill()

    def _take_chunk(self, partial: PartialBlob, index: int, payload: bytes, now: float) -> None:
        if partial.write(index, payload):
            reach(Failpoint.SITE_CHUNK_WRITTEN)
            self._heard(now)
        self._asked.discard(index)
        self._refill()

    def _open(self, manifest: Manifest) -> None:
        reference = self._reference
        if (manifest.size_bytes, manifest.chunk_bytes) != (reference.size_bytes, reference.chunk_bytes):
            said = BLOB_SIZE(
                blob=reference.blob.hex()[:12], bytes=manifest.size_bytes, announced=reference.size_bytes
            )
            raise WireError(said, "manifest")
        self._partial = self._folder.open_partial(manifest)

    def _ask_manifest(self) -> None:
        self._subscribe([manifest_topic(self._reference.blob)])
        self._ask(())

    def _refill(self) -> None:
        """Asks for more when half of the window has come; ends when all has."""
        partial = self._partial
        if partial is None or len(self._asked) > self._window // 2:
            return
        if partial.complete:
            self.done = partial.finish()
            self._due = None
            self._unsubscribe_all_but(frozenset())
            return
        more = self._lacking(partial, self._window - len(self._asked))
        if more:
            self._asked.update(more)
            wanted = frozenset(chunk_topic(self._reference.blob, index) for index in self._asked)
            self._unsubscribe_all_but(wanted)
            self._subscribe([chunk_topic(self._reference.blob, index) for index in more])
            self._ask(tuple(more))

    def _lacking(self, partial: PartialBlob, room: int) -> list[int]:
        """The next chunks that lack, in the order in which every site asks, so that they share."""
        found: list[int] = []
        while self._next < len(partial.manifest.chunks) and len(found) < room:
            if not partial.have(self._next):
                found.append(self._next)
            self._next += 1
        return found

    def _subscribe(self, topics: list[str]) -> None:
        self._link.subscribe(topics)
        self._subscribed.update(topics)

    def _unsubscribe_all_but(self, wanted: frozenset[str]) -> None:
        over = sorted(self._subscribed - wanted)
        if over:
            self._link.unsubscribe(over)
            self._subscribed.difference_update(over)

    def _heard(self, now: float) -> None:
        self._silence_s = SILENCE_S[0]
        self._due = now + self._silence_s
