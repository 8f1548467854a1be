# SPDX-License-Identifier: Apache-2.0
"""Errors, sorted by who must act.

Rule: a message says what failed, on which object, and what to do next, in one line. Third-party exceptions are
translated once, at the module that owns the dependency, with ``from error``.
"""

from typing import ClassVar


class FedagentError(Exception):
    """Anything that a person may see; ends a command with ``exit_code`` (sysexits.h where it has one)."""

    exit_code: ClassVar[int] = 1


class UsageError(FedagentError):
    """The command line asks for something that makes no sense (EX_USAGE)."""

    exit_code = 64


class ConfigurationError(FedagentError):
    """A file that an administrator wrote must be corrected first (EX_CONFIG, systemd does not restart)."""

    exit_code = 78


class UnavailableError(FedagentError):
    """A service that this command talks to is not there: start it, or try again later (EX_UNAVAILABLE)."""

    exit_code = 69


class WireError(FedagentError):
    """Bytes from a peer that are not what they must be; nothing was changed by them.

    Attributes:
        path: where in the message, for example ``$.chunks[3]``; ``$`` is the whole.
    """

    def __init__(self, problem: str, path: str = "$") -> None:
        super().__init__(f"{problem} (at {path})")
        self.path = path


class TransportError(FedagentError):
    """What we would send, the broker would not take: an error before it is sent."""


class TransitionError(FedagentError):
    """An event that has no entry in a life-cycle table: an error of ours, never of the operator's."""


class StorageError(FedagentError):
    """Durable state cannot be read or written: disk full, damaged, or written by a newer version."""


class TrainerError(FedagentError):
    """The trainer did not come up, broke its protocol, or ended."""


class DataError(FedagentError):
    """Local data do not fit what the dataset file or the study says; never holds a patient's value."""
