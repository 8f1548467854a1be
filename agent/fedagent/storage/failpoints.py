# SPDX-License-Identifier: Apache-2.0
"""The points at which durability is decided, by name, so that tests can kill a process exactly there.

Rule: every commit, rename and durable hand-over in the product passes one of these.
"""

import os
import signal
from enum import StrEnum
from typing import Final

ENVIRONMENT: Final = "FEDAGENT_FAILPOINT"
"""``NAME`` or ``NAME:N``: die by SIGKILL when the point is reached (for the N-th time)."""


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


_countdown: dict[str, int] = {}


def reach(point: Failpoint) -> None:
    """Nothing, unless the environment names this point: then this process is gone."""
    wanted, _, number = os.environ.get(ENVIRONMENT, "").partition(":")
    if wanted != point:
        return
    _countdown[point] = _countdown.get(point, int(number or 1)) - 1
    if _countdown[point] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
