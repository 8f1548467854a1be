# SPDX-License-Identifier: Apache-2.0
"""FA9: command lines, and the demonstration."""

from functools import partial
from typing import Final

from fedagent.conditions.condition import Condition, ExitCode

_usage = partial(Condition, exit_code=ExitCode.USAGE)

BAD_WATCH: Final = _usage(
    "FA9001",
    "--watch with something else than seconds",
    "--watch {given}: how many seconds",
    "write a number of at least {least:g}, and a name before --watch",
)
