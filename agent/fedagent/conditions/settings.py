# SPDX-License-Identifier: Apache-2.0
"""FA2: what an administrator wrote or put in place: TOML files, keys and certificates of this machine."""

from functools import partial
from typing import Final

from fedagent.conditions.condition import Condition, ExitCode

_configuration = partial(Condition, exit_code=ExitCode.CONFIGURATION)

CANNOT_READ: Final = _configuration(
    "FA2001",
    "A settings file cannot be read",
    "cannot read {path}: {reason}",
    "correct its name or permissions",
)
NOT_TOML: Final = _configuration(
    "FA2002", "A settings file is not TOML", "{path} is not TOML: {reason}", "correct that line"
)
UNKNOWN_KEY: Final = _configuration(
    "FA2003", "Unknown key", "{path}: {key}: unknown key", "remove it, or correct its name"
)
UNKNOWN_KEY_NEAR: Final = _configuration(
    "FA2004", "Unknown key, one like it is known", "{path}: {key}: unknown key", "did you mean {near!r}?"
)
WRONG_VALUE: Final = _configuration("FA2005", "Wrong value", "{path}: {key}: {problem}", "correct it")
