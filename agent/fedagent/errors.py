# SPDX-License-Identifier: Apache-2.0
"""Errors, sorted by who must act; what each says is a condition of the table.

Rule: a message says what failed, on which object, and what to do next, in one line. Third-party exceptions are
translated once, at the module that owns the dependency, with ``from error``.
"""

from fedagent.conditions.condition import ExitCode, Said
from fedagent.conditions.table import TABLE


class FedagentError(Exception):
    """Anything that a person may see.

    Attributes:
        said: the condition with its values; ``str`` of the error is its text.
    """

    def __init__(self, said: Said) -> None:
        super().__init__(said.text)
        self.said = said

    @property
    def exit_code(self) -> int:
        """What a command that ends with this error exits with."""
        known = TABLE.get(self.said.code)  # a daemon of another version may say what this table lacks
        return known.exit_code if known else ExitCode.FAILED


class UsageError(FedagentError):
    """The command line asks for something that makes no sense."""


class ConfigurationError(FedagentError):
    """A file that an administrator wrote must be corrected first."""


class UnavailableError(FedagentError):
    """A service that this command talks to is not there: start it, or try again later."""


class WireError(FedagentError):
    """Bytes from a peer that are not what they must be; nothing was changed by them.

    Attributes:
        path: where in the message, for example ``$.chunks[3]``; ``$`` is the whole.
    """

    def __init__(self, said: Said, path: str = "$") -> None:
        super().__init__(Said(said.code, f"{said} (at {path})"))
        self.path = path


class TransportError(FedagentError):
    """What we would send, the broker would not take: an error before it is sent."""


class TransitionError(FedagentError):
    """An event that has no entry in a life-cycle table: an error of ours, never of the operator's."""


class StorageError(FedagentError):
    """Durable state cannot be read or written: disk full, damaged, or written by a newer version."""


class NoSpaceError(StorageError):
    """The disk is full, or would be: nothing was changed, and it goes on by itself when there is room."""


class TrainerError(FedagentError):
    """The trainer did not come up, broke its protocol, or ended."""


class DataError(FedagentError):
    """Local data do not fit what the dataset file or the study says; never holds a patient's value."""
