# SPDX-License-Identifier: Apache-2.0
"""The site's downloads of global models and uploads of its updates.

Rule: one download and one upload a study; a new round's takes the place of the last one's. A download that finds no room
keeps what it has, and begins again when there is some.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Final

from fedagent.conditions.messages import NOT_IN_SPOOL
from fedagent.errors import NoSpaceError, WireError
from fedagent.storage.blobs import BlobFolder
from fedagent.storage.shortage import Shortage
from fedagent.transport.download import Download
from fedagent.transport.events import Arrived
from fedagent.transport.link import Link
from fedagent.transport.upload import Upload
from fedagent.wire.manifest import Manifest, blob_digest
from fedagent.wire.messages import ModelReference, Want

_MODELS: Final = "models"
"""What waits for room."""


class Transfers:
    """What is under way now.

    Args:
        ask: sends a ``Want``.
        on_fetched: study and blob of a model that is complete.
    """

    def __init__(  # noqa: PLR0913 (what every download and upload is made of)
        self,
        folder: BlobFolder,
        link: Link,
        *,
        site: str,
        window: int,
        ask: Callable[[Want], None],
        on_fetched: Callable[[str, bytes], None],
        shortage: Shortage,
    ) -> None:
        self._folder, self._link, self._site, self._window = folder, link, site, window
        self._shortage = shortage
        self._refused: dict[str, ModelReference] = {}
        self._ask, self._on_fetched = ask, on_fetched
        self._downloads: dict[str, tuple[ModelReference, Download]] = {}
        self._uploads: dict[str, tuple[bytes, Upload]] = {}

    def fetch(self, study: str, reference: ModelReference, now: float) -> None:
        """Gets the model, going on with what is here already."""
        self._refused.pop(study, None)
        if self._folder.path(reference.blob) is not None:
            self._on_fetched(study, reference.blob)
            return
        known = self._downloads.get(study)
        if known is not None and known[0].blob == reference.blob:
            known[1].resume(now)
            return
        if known is not None:
            known[1].close()

        def ask(chunks: tuple[int, ...]) -> None:
            self._ask(Want(study=study, blob=reference.blob, chunks=chunks))

        download = Download(reference, self._folder, self._link, ask=ask, window=self._window)
        self._downloads[study] = (reference, download)
        try:
            download.start(now)
        except NoSpaceError as error:
            self._refuse(study, error)
        else:
            self._finish(study)

    def arrived(self, event: Arrived, now: float) -> None:
        """A chunk or a manifest came; what no download wants is dropped.

        Raises:
            WireError: it is not what its manifest says.
        """
        for study, (reference, download) in list(self._downloads.items()):
            if f"/{reference.blob.hex()}/" in event.topic:
                try:
                    if (
                        self._folder.path(reference.blob) is None
                    ):  # another study's download may have finished it
                        download.arrived(event.topic, event.payload, now)
                except NoSpaceError as error:
                    self._refuse(study, error)
                else:
                    self._finish(study)

    def _refuse(self, study: str, error: NoSpaceError) -> None:
        reference, download = self._downloads.pop(study)
        download.close()
        self._refused[study] = reference
        self._shortage.met(_MODELS, error)

    def _finish(self, study: str) -> None:
        reference, download = self._downloads[study]
        if self._folder.path(reference.blob) is not None:
            download.close()
            del self._downloads[study]
            self._on_fetched(study, reference.blob)

    def grant(self, study: str, manifest: Manifest, chunks: tuple[int, ...]) -> None:
        """The aggregator wants these chunks of the update."""
        digest = blob_digest(manifest)
        known = self._uploads.get(study)
        path = self._folder.path(digest)
        if path is None:
            raise WireError(NOT_IN_SPOOL(blob=digest.hex()[:12]))
        if known is None or known[0] != digest:
            upload = Upload(
                digest, manifest, path, study=study, site=self._site, link=self._link, window=self._window
            )
            self._uploads[study] = known = (digest, upload)
        known[1].granted(chunks)
        known[1].pump()

    def pump(self) -> None:
        """The link has room."""
        for _, upload in self._uploads.values():
            upload.pump()

    def wake(self, now: float) -> None:
        """Asks again for what is overdue, and tries again what found no room."""
        for _, download in self._downloads.values():
            download.wake(now)
        if self._refused and not self._shortage.waits(_MODELS):
            for study, reference in list(self._refused.items()):
                self.fetch(study, reference, now)
        if not self._refused:
            self._shortage.over(_MODELS)

    def keep(self, digests: frozenset[bytes], *, delete: bool = True) -> None:
        """Ends the transfers of other blobs than these, and deletes what is here of them.

        Args:
            delete: not while a blob may come in that nobody has named yet; the next call deletes for this one as well.
        """
        self._uploads = {study: each for study, each in self._uploads.items() if each[0] in digests}
        for study, (reference, download) in list(self._downloads.items()):
            if reference.blob not in digests:
                download.close()
                del self._downloads[study]
        self._refused = {study: each for study, each in self._refused.items() if each.blob in digests}
        others = self._folder.digests() | self._folder.unfinished() if delete else frozenset()
        for digest in others - digests:
            with suppress(NoSpaceError):  # deleting takes room on some file systems; the next call deletes it
                self._folder.delete(digest)
