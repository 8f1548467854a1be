# SPDX-License-Identifier: Apache-2.0
"""FA5: the trainer: supervisor, worker, gate and tasks."""

from typing import Final

from fedagent.conditions.condition import Condition, Severity

LOADING_TOO_LONG: Final = Condition(
    "FA5301",
    "A job's first step is not begun in time",
    "the first step was not begun in {limit_s:g} s",
    "raise trainer.load_limit_s if the data need longer, else tell the study's contact",
    severity=Severity.WARNING,
)
STEP_TOO_LONG: Final = Condition(
    "FA5302",
    "A step of a job does not end in time",
    "step {step} did not end in {limit_s:g} s",
    "raise trainer.step_limit_s if this machine needs longer, else tell the study's contact",
    severity=Severity.WARNING,
)
KILLED_FOR_MEMORY: Final = Condition(
    "FA5303",
    "The kernel killed a worker because no memory was left",
    "the kernel killed the worker: no memory was left for it",
    "give fedagent.slice more (MemoryMax), or tell the study's contact",
    severity=Severity.WARNING,
)
