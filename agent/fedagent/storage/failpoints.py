# SPDX-License-Identifier: Apache-2.0
"""The points at which durability is decided, by name, so that tests can kill a process exactly there.

Rule: every commit, rename and durable hand-over in the product passes one of these.
"""

import os
import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import Final

ENVIRONMENT: Final = "FEDAGENT_FAILPOINT"
"""``NAME``, ``NAME:N`` or ``NAME:N:MODULE:FILE``: die by SIGKILL when the point is reached (for the N-th time).

With the last form only ``python -m MODULE`` dies, and only who could remove the file: the process that takes its place,
and inherits the environment, lives.
"""


class Failpoint(StrEnum):
    """Where a process may die in a test."""

    FILE_BEFORE_RENAME = "file-before-rename"
    FILE_AFTER_RENAME = "file-after-rename"
    SITE_BEFORE_COMMIT = "site-before-commit"
    SITE_AFTER_COMMIT = "site-after-commit"
    SITE_CHUNK_WRITTEN = "site-chunk-written"
    SITE_UPDATE_SPOOLED = "site-update-spooled"
    AGGREGATOR_BEFORE_COMMIT = "aggregator-before-commit"
    AGGREGATOR_AFTER_COMMIT = "aggregator-after-commit"
    AGGREGATOR_CHUNK_STORED = "aggregator-chunk-stored"
    AGGREGATOR_MODEL_FOLDED = "aggregator-model-folded"
    CHECKPOINT_WRITTEN = "checkpoint-written"
    UPDATE_SEALED = "update-sealed"
    SNAPSHOT_WRITTEN = "snapshot-written"
    MESSAGE_PUBLISHED = "message-published"


_countdown: dict[str, int] = {}


def reach(point: Failpoint) -> None:
    """Nothing, unless the environment names this point: then this process is gone."""
    wanted, number, module, file = (*os.environ.get(ENVIRONMENT, "").split(":", 3), "", "", "", "")[:4]
    if wanted != point or (module and module not in sys.orig_argv):
        return
    _countdown[point] = _countdown.get(point, int(number or 1)) - 1
    if _countdown[point] == 0 and (not file or _removed(file)):
        os.kill(os.getpid(), signal.SIGKILL)


def _removed(file: str) -> bool:
    try:
        Path(file).unlink()
    except FileNotFoundError:
        return False
    return True
