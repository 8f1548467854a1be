# SPDX-License-Identifier: Apache-2.0
"""The journal's catalog of our conditions: what ``journalctl --catalog`` says beside a record, and the ids that find it.

Rule: a condition's id follows from its code, so that it is the same in every version.
Source: systemd.journal-fields(7), the message catalog developer documentation of systemd.
"""

import string
import sys
import uuid
from collections.abc import Iterator
from typing import Final

from fedagent.conditions.condition import Condition
from fedagent.conditions.table import TABLE

_NAMESPACE: Final = uuid.UUID("1d4c6c5e-8f38-5d0b-9a51-5b9d0f0a6f27")


def message_id(code: str) -> str:
    """The journal's ``MESSAGE_ID`` of a condition."""
    return uuid.uuid5(_NAMESPACE, code).hex


def catalog() -> str:
    """The text of the catalog file: every condition, in the order of the table."""
    return "\n".join(_entry(each) for each in TABLE.values())


def _entry(condition: Condition) -> str:
    lines = [
        f"-- {message_id(condition.code)}",
        f"Subject: {condition.title} [{condition.code}]",
        "Defined-By: fedagent",
        "",
        f"What is so: {named(condition.text)}.",
    ]
    if condition.action:
        lines.append(f"What to do: {named(condition.action)}.")
    return "\n".join([*lines, ""])


def named(template: str) -> str:
    """The template with the name of each value in its place."""
    return "".join(_parts(template))


def _parts(template: str) -> Iterator[str]:
    for text, name, _, _ in string.Formatter().parse(template):
        yield text
        if name is not None:
            yield f"<{name}>"


if __name__ == "__main__":
    sys.stdout.write(catalog())
