# SPDX-License-Identifier: Apache-2.0
"""This site's update on its way up.

Rule: a chunk that was not granted is never sent, and what the broker acknowledged counts for nothing: only the
aggregator's word does. So nothing is tracked here but what is still to be handed over.
"""

from pathlib import Path

from fedagent.storage.blobs import read_at
from fedagent.transport.link import Link
from fedagent.wire.manifest import Manifest, chunk_message, chunk_size
from fedagent.wire.topics import site_topic


class Upload:
    """One blob, sent chunk by chunk as the aggregator grants.

    Args:
        path: the whole blob.
        window: chunks handed to the link at once; each is in memory until the broker has it.
    """

    def __init__(  # noqa: PLR0913 (what a chunk's header and topic are made of)
        self, digest: bytes, manifest: Manifest, path: Path, *, study: str, site: str, link: Link, window: int
    ) -> None:
        self._digest, self._manifest, self._path = digest, manifest, path
        self._topic = site_topic(site, "chunk", study)
        self._link, self._window = link, window
        self._granted: dict[int, None] = {}  # a set that keeps its order

    def granted(self, chunks: tuple[int, ...]) -> None:
        """The aggregator wants these next; one that is named again is sent again, unless it still waits here."""
        self._granted.update(dict.fromkeys(index for index in chunks if index < len(self._manifest.chunks)))

    def pump(self) -> None:
        """Hands over what was granted, as far as the link has room.

        Raises:
            StorageError: the blob cannot be read.
            TransportError: a chunk is larger than the broker takes.
        """
        while self._granted and self._link.connected and self._link.unacknowledged < self._window:
            index = next(iter(self._granted))
            chunk = read_at(self._path, index * self._manifest.chunk_bytes, chunk_size(self._manifest, index))
            self._link.publish(self._topic, chunk_message(self._digest, index, chunk))
            del self._granted[index]
