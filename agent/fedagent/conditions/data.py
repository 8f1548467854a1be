# SPDX-License-Identifier: Apache-2.0
"""FA6: datasets, their sources, mappings and snapshots."""

from typing import Final

from fedagent.conditions.condition import Condition

NO_SNAPSHOT_YET: Final = Condition(
    "FA6301",
    "A dataset has no snapshot",
    "dataset {dataset} has no snapshot yet",
    "sudo fedagent dataset snapshot {dataset}",
)
SNAPSHOTS_UNUSABLE: Final = Condition(
    "FA6302", "No snapshot can be used", "no snapshot can be used: {reason}"
)
