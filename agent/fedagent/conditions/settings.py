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
MISSING_KEY: Final = _configuration("FA2006", "Key missing", "{path}: {key}: is missing", "add it")
NOT_A_CHOICE: Final = _configuration(
    "FA2007",
    "None of the values that a key can have",
    "{path}: {key}: {value!r} is not one of {known}",
    "correct it",
)
NOT_A_CHOICE_NEAR: Final = _configuration(
    "FA2008",
    "None of the values that a key can have, one like it is known",
    "{path}: {key}: {value!r} is not one of {known}",
    "did you mean {near!r}?",
)
NOT_A_NAME: Final = _configuration(
    "FA2009", "Not a name", "{path}: {key}: is no name", "use 2 to 32 of a-z, 0-9 and -, not - first"
)
NOT_A_COLUMN: Final = _configuration(
    "FA2010",
    "Not a column's name",
    "{path}: {key}: is no column's name",
    "use letters, digits and _, not a digit first",
)
NOT_A_CLOCK: Final = _configuration(
    "FA2011", "Not a time of the day", "{path}: {key}: is no time of the day", "write it as 07:30"
)
ENTER_ABOVE_LEAVE: Final = _configuration(
    "FA2020",
    "Training would enter a busier machine than it leaves",
    "cpu_enter_ratio {enter} is above cpu_leave_ratio {leave}",
)
TRAINER_CANNOT_READ_CA: Final = _configuration(
    "FA2301",
    "The trainer cannot read the authority's certificate",
    "cannot read {path}: {reason}",
    "let the trainer's user read it, or correct broker.ca",
)
