# SPDX-License-Identifier: Apache-2.0
"""The approvals folder as it is now; the daemon only reads it.

Rule: a file that is wrong approves nothing, and is said once.
"""

import logging
from pathlib import Path

from fedagent.conditions.site import APPROVAL_IGNORED
from fedagent.core.approval import Approval
from fedagent.errors import ConfigurationError
from fedagent.journal import tell
from fedagent.storage.settings import read_approval

log = logging.getLogger(__name__)


class ApprovalFolder:
    """Reads the folder again when a file in it came, went or changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: dict[str, int] | None = None

    def changed(self) -> dict[str, Approval] | None:
        """The approvals by study, or None where nothing changed since the last call."""
        now = self._files()
        if now == self._seen:
            return None
        self._seen = now
        found: dict[str, Approval] = {}
        for study in now:
            try:
                approval = read_approval(self._folder, study)
            except ConfigurationError as error:
                tell(log, APPROVAL_IGNORED(reason=error), study=study)
                continue
            if approval is not None:
                found[study] = approval
        return found

    def _files(self) -> dict[str, int]:
        """Each file's time of change, by study."""
        found: dict[str, int] = {}
        for path in sorted(self._folder.glob("*.toml")):
            try:
                found[path.stem] = path.stat().st_mtime_ns
            except OSError:  # removed since it was listed
                continue
        return found
