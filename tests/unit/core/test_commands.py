# SPDX-License-Identifier: Apache-2.0
import logging

import pytest

from fedagent.conditions.condition import Severity
from fedagent.core import commands as do

KINDS = do.Command.__subclasses__()


@pytest.mark.parametrize("severity", Severity)
def test_a_severity_is_the_one_of_logging(severity: Severity) -> None:
    assert logging.getLevelName(severity) == severity.name


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_command_is_a_value(kind: type[do.Command]) -> None:
    assert kind.__struct_config__.frozen
    assert kind.__doc__


def test_equal_commands_are_equal() -> None:
    assert do.Strike(key="heart-1/join") == do.Strike(key="heart-1/join")
    assert do.Strike(key="heart-1/join") != do.Strike(key="heart-1/offer")
