# SPDX-License-Identifier: Apache-2.0
"""What a condition is, and what is said when it holds.

Rule: no text for a person is written elsewhere. A number, once published, keeps its meaning for ever; one that is not used any
more goes to ``table.RETIRED``.
"""

from enum import IntEnum
from typing import NamedTuple

import msgspec
from typing_extensions import override


class Severity(IntEnum):
    """As ``logging`` has them: ERROR a person must act, WARNING degraded but we go on, INFO the state changed."""

    INFO = 20
    WARNING = 30
    ERROR = 40


class ExitCode(IntEnum):
    """How a command ends (sysexits.h where it has one); systemd does not restart after CONFIGURATION."""

    DONE = 0
    FAILED = 1
    USAGE = 64
    UNAVAILABLE = 69
    CONFIGURATION = 78


class Said(msgspec.Struct, frozen=True):
    """A condition with its values filled in; as text it is one line.

    Attributes:
        code: of the condition, for example ``FA1001``.
        text: what is so, and what to do next.
    """

    code: str
    text: str

    @override
    def __str__(self) -> str:
        return self.text


class Condition(NamedTuple):
    """One row of the table; called with its values it gives what is said.

    Attributes:
        text: a template (``str.format``): what, on which object.
        action: a template: what to do next; empty where nothing is to be done.
        severity: how the journal has it.
        exit_code: of a command that ends with it.
    """

    code: str
    title: str
    text: str
    action: str = ""
    severity: Severity = Severity.ERROR
    exit_code: ExitCode = ExitCode.FAILED

    def __call__(self, **values: object) -> Said:
        """The condition with its values.

        Raises:
            KeyError: a value of the templates is not given (a test holds every call to its template).
        """
        template = f"{self.text}; {self.action}" if self.action else self.text
        return Said(self.code, template.format(**values))
