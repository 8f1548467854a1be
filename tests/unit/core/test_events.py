# SPDX-License-Identifier: Apache-2.0
from typing import get_args

import pytest

from fedagent.conditions.trainer import TRAINER_ENDED, TRAINER_EXITED
from fedagent.core import agent
from fedagent.core import events as on

KINDS = on.Event.__subclasses__()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_event_is_a_value(kind: type[on.Event]) -> None:
    assert kind.__struct_config__.frozen
    assert kind.__doc__


def test_the_core_takes_every_event() -> None:
    assert set(get_args(agent.AnyEvent)) == set(KINDS)


def test_equal_events_are_equal() -> None:
    assert on.TrainerLost(reason=TRAINER_ENDED()) == on.TrainerLost(reason=TRAINER_ENDED())
    assert on.TrainerLost(reason=TRAINER_ENDED()) != on.TrainerLost(reason=TRAINER_EXITED(status=1))
