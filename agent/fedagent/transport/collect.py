# SPDX-License-Identifier: Apache-2.0
"""Every site's update on its way in, by credit: the aggregator names the chunks that it wants next.

Rule: the sum of what is granted and has not come stays bounded over all sites and studies, so that no queue of the
broker can fill, even while this process is down (the broker drops silently what does not fit).
"""

import logging
from pathlib import Path
from typing import Final

from fedagent.conditions.broker import CHUNKS_OVERDUE
from fedagent.conditions.messages import WRONG_CHUNK
from fedagent.errors import WireError
from fedagent.journal import tell
from fedagent.storage.blobs import BlobFolder, PartialBlob
from fedagent.wire.manifest import CHUNK_HEADER_BYTES, Manifest, blob_digest

log = logging.getLogger(__name__)

OUTSTANDING: Final = 256
"""Chunks granted and not here, over all sites: a quarter of what a broker queues for one client by default."""

OVERDUE_S: Final = (10.0, 160.0)
"""After that long without a chunk of a site, its grants are taken back and given anew; doubling, to the second."""


class _Incoming:
    """One update that is being collected."""

    def __init__(self, partial: PartialBlob, now: float) -> None:
        self.partial = partial
        self.outstanding: set[int] = set()
        self.patience_s = OVERDUE_S[0]
        self.heard = now

    def lacking(self, room: int) -> tuple[int, ...]:
        """The next chunks to grant."""
        wanted = (index for index in self.partial.missing() if index not in self.outstanding)
        return tuple(index for _, index in zip(range(room), wanted, strict=False))


class Collector:
    """All updates that are coming in. Times are monotonic seconds.

    Args:
        window: chunks that one site may have outstanding.
    """

    def __init__(self, folder: BlobFolder, maximum_outstanding: int = OUTSTANDING, window: int = 4) -> None:
        self._folder, self._maximum, self._window = folder, maximum_outstanding, window
        self._incoming: dict[tuple[str, str], _Incoming] = {}
        """In the order of their turns: who was granted last is last."""

    @property
    def outstanding(self) -> int:
        """Chunks that were granted and are not here."""
        return sum(len(each.outstanding) for each in self._incoming.values())

    def offer(self, site: str, study: str, manifest: Manifest, now: float) -> Path | None:
        """The site has this update and awaits grants; again after it lost the connection.

        Returns:
            Where the update is, if all of it is here already.

        Raises:
            StorageError: no space.
        """
        known = self._incoming.get((site, study))
        if known and known.partial.digest == blob_digest(manifest):
            known.outstanding.clear()  # lost with the connection, or it would not ask
            return None
        if known:
            self.drop(site, study)
        partial = self._folder.open_partial(manifest)
        if partial.complete:
            return partial.finish()
        self._incoming[site, study] = _Incoming(partial, now)
        return None

    def chunk(self, site: str, study: str, payload: bytes, now: float) -> Path | None:
        """Takes a chunk; one that was not granted, or comes twice, does no harm.

        Returns:
            Where the update is, if this was its last chunk.

        Raises:
            WireError: not a chunk of what the site offered; it will be granted again.
            StorageError: no space.
        """
        incoming = self._incoming.get((site, study))
        if incoming is None or payload[:32] != incoming.partial.digest:
            return None  # of an update that is here already, or no longer wanted
        index = int.from_bytes(payload[32:CHUNK_HEADER_BYTES], "big")
        try:
            new = incoming.partial.write(index, payload[CHUNK_HEADER_BYTES:])
        except WireError as error:
            # Stays outstanding until overdue: a site with a damaged disk would send the same again at once.
            said = WRONG_CHUNK(site=site, study=study, index=index, reason=error)
            raise WireError(said, "chunk") from error
        incoming.outstanding.discard(index)
        if new:
            incoming.heard, incoming.patience_s = now, OVERDUE_S[0]
        if not incoming.partial.complete:
            return None
        path = incoming.partial.finish()
        del self._incoming[site, study]
        return path

    def grants(self, now: float) -> list[tuple[str, str, bytes, tuple[int, ...], int]]:
        """Who is to be told now which chunks to send: site, study, blob, chunks, and how many are durable."""
        self._take_back(now)
        room = self._maximum - self.outstanding
        due: list[tuple[str, str, bytes, tuple[int, ...], int]] = []
        for key, each in list(self._incoming.items()):
            if room <= 0:
                break
            if len(each.outstanding) > self._window // 2:
                continue
            chunks = each.lacking(min(room, self._window - len(each.outstanding)))
            if not chunks:
                continue
            if not each.outstanding:
                each.heard = now
            each.outstanding.update(chunks)
            room -= len(chunks)
            self._incoming[key] = self._incoming.pop(key)  # its turn is over: to the end
            due.append((*key, each.partial.digest, chunks, each.partial.stored))
        return due

    def wake(self) -> float | None:
        """When the next grant becomes overdue; None where none is outstanding."""
        return min(
            (each.heard + each.patience_s for each in self._incoming.values() if each.outstanding),
            default=None,
        )

    def drop(self, site: str, study: str) -> None:
        """The update is no longer wanted; what came of it is deleted."""
        incoming = self._incoming.pop((site, study), None)
        if incoming:
            self._folder.delete(incoming.partial.digest)

    def _take_back(self, now: float) -> None:
        for key, each in list(self._incoming.items()):
            if each.outstanding and now - each.heard >= each.patience_s:
                site, study = key
                said = CHUNKS_OVERDUE(site=site, chunks=len(each.outstanding), seconds=each.patience_s)
                tell(log, said, site=site, study=study)
                each.outstanding.clear()
                each.patience_s = min(2 * each.patience_s, OVERDUE_S[1])
                self._incoming[key] = self._incoming.pop(key)
