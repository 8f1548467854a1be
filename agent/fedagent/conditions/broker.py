# SPDX-License-Identifier: Apache-2.0
"""FA4: the broker, the line to it, and the control socket."""

from functools import partial
from typing import Final

from fedagent.conditions.condition import Condition, ExitCode, Severity

_unavailable = partial(Condition, exit_code=ExitCode.UNAVAILABLE)

CANNOT_LISTEN: Final = Condition(
    "FA4601",
    "The control socket cannot be made",
    "cannot listen on {path}: {reason}",
    "correct the folder's owner",
)
REQUEST_NOT_UNDERSTOOD: Final = Condition(
    "FA4602",
    "The daemon does not understand a command's request",
    "the request is not understood: {reason}",
    "is the daemon of another version? restart it",
)
MAY_NOT_CONNECT: Final = _unavailable(
    "FA4603",
    "The daemon's control socket is closed to this user",
    "cannot reach {program} at {path}: {reason}",
    "try sudo",
)
DAEMON_SILENT: Final = _unavailable(
    "FA4604",
    "The daemon does not answer a command",
    "{program} does not answer at {path} within {limit_s:g} s",
    "see systemctl status {program}",
)
DAEMON_NOT_RUNNING: Final = _unavailable(
    "FA4605",
    "The daemon is not running",
    "{program} is not running (nobody answers at {path})",
    "systemctl start {program}",
)
OTHER_ANSWER: Final = _unavailable(
    "FA4606",
    "The daemon's answer is not what was asked for",
    "the daemon gave an answer of another kind",
    "is it of another version? restart it",
)
TOO_MUCH_AT_ONCE: Final = Condition(
    "FA4607",
    "The broker sends more at once than it was told to",
    "the broker sent more messages than we take at once",
    "what was dropped comes again on a new connection",
    severity=Severity.WARNING,
)
OTHER_VERSION: Final = _unavailable(
    "FA4608",
    "The daemon is of another version than the command",
    "the running {program} speaks another version than this command",
    "systemctl restart {program}",
)
