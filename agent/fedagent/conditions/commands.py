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
WHICH_DATASET: Final = _usage("FA9301", "No dataset is named", "which dataset?", "name it, or ask for --list")
NOT_A_DATASET_NAME: Final = _usage(
    "FA9302",
    "Not a dataset's name",
    "{name!r} cannot be a dataset's name",
    "use 2 to 32 of a-z, 0-9 and -, not - first",
)
SNAPSHOT_NOT_STARTED: Final = Condition(
    "FA9303",
    "The snapshot program does not start",
    "cannot start the snapshot program as {user}: {reason}",
    "try again as root",
)
STATE_NOT_SEEN: Final = Condition(
    "FA9304",
    "A user may not look at the trainer's state",
    "cannot look at {path}: {reason}",
    "run it as root",
)
NOT_SITE_AND_PATH: Final = _usage(
    "FA9305",
    "Not a site and a path",
    "{option} {pair}: is not SITE=PATH",
    "write it as north=/path/of/the/snapshot",
)
SITE_TWICE: Final = _usage(
    "FA9306", "A site is named twice", "{option}: a site is named twice", "name each site once"
)
OPTION_FILE: Final = _usage(
    "FA9307",
    "A file on the command line cannot be read",
    "{option}: cannot read {path}: {reason}",
    "correct its name or permissions",
)
AT_SITE: Final = Condition("FA9308", "A site's rows cannot be used", "{site}: {reason}")
