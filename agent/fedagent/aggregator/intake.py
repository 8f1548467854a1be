# SPDX-License-Identifier: Apache-2.0
"""Updates on their way in: which are expected, their chunks, and the grants for more.

Rule: a chunk counts when it is on disk; what is granted is bounded over all sites together (``transport.collect``).
"""

from pathlib import Path

import msgspec

from fedagent.storage.blobs import BlobFolder
from fedagent.storage.failpoints import Failpoint, reach
from fedagent.transport.collect import Collector
from fedagent.wire.manifest import Manifest, blob_digest
from fedagent.wire.messages import Grant


class Expected(msgspec.Struct, frozen=True):
    """An update that a site sends for this round."""

    round: int
    manifest: Manifest

    @property
    def blob(self) -> bytes:
        """The update's digest."""
        return blob_digest(self.manifest)


class Intake:
    """The folder of incoming updates and who is sending."""

    def __init__(self, folder: BlobFolder, collector: Collector) -> None:
        """Expects nothing yet."""
        self._folder, self._collector = folder, collector
        self._expected: dict[tuple[str, str], Expected] = {}

    def path(self, blob: bytes) -> Path | None:
        """Where the whole update lies."""
        return self._folder.path(blob)

    def expect(self, site: str, study: str, number: int, manifest: Manifest, now: float) -> bool:
        """The site will be granted the chunks that lack; again after a repeat of its offer.

        Args:
            now: monotonic seconds.

        Returns:
            Whether all of it is here already.

        Raises:
            NoSpaceError: it does not fit on the disk.
        """
        self._expected.pop((site, study), None)
        whole = self._collector.offer(site, study, manifest, now) is not None
        if not whole:
            self._expected[site, study] = Expected(number, manifest)
        return whole

    def expects(self, site: str, study: str) -> bool:
        """Whether the site is being granted the chunks of an update."""
        return (site, study) in self._expected

    def renew(self, now: float) -> None:
        """The connection is a new one: what was granted is granted again."""
        for (site, study), expected in self._expected.items():
            self._collector.offer(site, study, expected.manifest, now)

    def chunk(self, site: str, study: str, payload: bytes, now: float) -> Expected | None:
        """Stores a chunk; gives the update that it completes.

        Raises:
            WireError: not a chunk of what this site offered.
        """
        whole = self._collector.chunk(site, study, payload, now)
        reach(Failpoint.AGGREGATOR_CHUNK_STORED)
        return self._expected.pop((site, study), None) if whole else None

    def grants(self, now: float) -> list[tuple[str, Grant]]:
        """What is to be asked of which site now."""
        due = []
        for site, study, blob, chunks, stored in self._collector.grants(now):
            expected = self._expected.get((site, study))
            if expected is not None and expected.blob == blob:
                due.append(
                    (site, Grant(study=study, round=expected.round, blob=blob, chunks=chunks, stored=stored))
                )
        return due

    def forget(self, site: str, study: str, blob: bytes) -> None:
        """The update is not wanted (any more): its bytes go."""
        expected = self._expected.get((site, study))
        if expected is not None and expected.blob == blob:
            del self._expected[site, study]
            self._collector.drop(site, study)
        self._folder.delete(blob)

    def sweep(self, keep: set[bytes]) -> None:
        """Deletes what a process that died left behind."""
        for digest in self._folder.digests() | self._folder.unfinished():
            if digest not in keep:
                self._folder.delete(digest)
