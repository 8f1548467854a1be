# SPDX-License-Identifier: Apache-2.0
"""The highest round of each study that was ever given to the worker here.

Rule: a round is durable before its training starts, and only moves forward: a replayed announcement trains nothing.
The same work may be done again: the daemon may have lost the result before it spooled it.
"""

import hashlib
from pathlib import Path
from typing import Final, Literal

import msgspec

from fedagent.conditions.condition import Said
from fedagent.conditions.trainer import DAMAGED_ROUNDS, ROUND_IS_OLDER, SEALED_FROM_ANOTHER
from fedagent.errors import StorageError
from fedagent.storage import disk
from fedagent.storage.files import write_atomically
from fedagent.storage.versions import refuse_newer
from fedagent.wire.codec import encode
from fedagent.wire.messages import Announcement
from fedagent.wire.study import study_digest
from fedagent.wire.values import Name, RoundNumber

VERSION: Final = 1


class RoundEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The study's last round here.

    Attributes:
        work: what was asked, see ``work_digest``, hexadecimal.
        sealed: a result has left the gate.
    """

    study: Name
    round: RoundNumber
    work: str
    sealed: bool


class RoundFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The file: an entry for each study by its digest, hexadecimal, so that a study made anew begins anew."""

    rounds: dict[str, RoundEntry] = {}
    version: Literal[1] = VERSION


class RoundLedger:
    """The file ``rounds.json`` of the trainer's state."""

    def __init__(self, path: Path) -> None:
        """Reads it.

        Raises:
            StorageError: damaged, or of a newer version: it is never started anew by itself.
        """
        self._path = path
        try:
            disk.sync_folder(path.parent)  # what a process that was killed renamed there counts from here on
            data = path.read_bytes()
            refuse_newer(path, data, VERSION)
            self._file = msgspec.json.decode(data, type=RoundFile)
        except FileNotFoundError:
            self._file = RoundFile()
        except (msgspec.MsgspecError, UnicodeDecodeError, OSError) as error:
            raise StorageError(DAMAGED_ROUNDS(path=path, reason=error)) from error

    def objection(self, announcement: Announcement) -> Said | None:
        """Why this work may not be done any more, or None where it may."""
        study, number = announcement.study.name, announcement.round
        entry = self._file.rounds.get(study_digest(announcement.study).hex())
        if entry is None or number > entry.round:
            return None
        if number < entry.round:
            return ROUND_IS_OLDER(study=study, round=number, last=entry.round)
        if entry.sealed and entry.work != work_digest(announcement).hex():
            return SEALED_FROM_ANOTHER(study=study, round=number)
        return None

    def begin(self, announcement: Announcement) -> None:
        """The round is durably the study's last.

        Raises:
            StorageError: it is not; do not train.
        """
        entry = self._file.rounds.get(study_digest(announcement.study).hex())
        work = work_digest(announcement).hex()
        if entry is None or (entry.round, entry.work) != (announcement.round, work):
            self._write(announcement, work=work, sealed=False)

    def seal(self, announcement: Announcement) -> None:
        """It is durable that a result of this work may leave; call it before the result does.

        Raises:
            StorageError: it is not; do not let the result out.
        """
        self._write(announcement, work=work_digest(announcement).hex(), sealed=True)

    def _write(self, announcement: Announcement, *, work: str, sealed: bool) -> None:
        study = announcement.study
        entry = RoundEntry(study=study.name, round=announcement.round, work=work, sealed=sealed)
        file = RoundFile(rounds=self._file.rounds | {study_digest(study).hex(): entry})
        write_atomically(self._path, msgspec.json.format(msgspec.json.encode(file)))
        self._file = file


def work_digest(announcement: Announcement) -> bytes:
    """What is asked of the worker, 32 bytes: the announcement but for its deadline, which may be moved."""
    return hashlib.sha256(encode(msgspec.structs.replace(announcement, deadline_at=0.0))).digest()
