# SPDX-License-Identifier: Apache-2.0
"""What the types of single messages refuse."""

import math

import msgspec
import pytest

from fedagent.errors import WireError
from fedagent.wire import messages as m
from fedagent.wire.codec import decode, encode
from tests.fakes.examples import AGGREGATOR_MESSAGES, ALL, KEY, METRICS, SITE_MESSAGES

LIMIT = 100_000
SECRET = m.UpdateSecret(key=KEY, rows=242, snapshot=KEY, metrics=METRICS)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_metric_is_a_finite_number(value: float) -> None:
    metric = m.MetricValue(name="auc", value=value, count=61)
    with pytest.raises(WireError) as caught:
        decode(encode(msgspec.structs.replace(SECRET, metrics=(metric,))), m.UpdateSecret, limit_bytes=LIMIT)
    assert caught.value.path == "$.metrics[0].value"


def test_a_metric_counts_once() -> None:
    with pytest.raises(ValueError, match="metric 'auc' is there twice"):
        msgspec.structs.replace(SECRET, metrics=(METRICS[0], METRICS[0]))


@pytest.mark.parametrize("when", [math.nan, math.inf, -1.0, 1e12])
@pytest.mark.parametrize(
    ("name", "field"), [("Announcement", "deadline_at"), ("Presence", "training_expected_at")]
)
def test_a_time_is_one_that_a_calendar_has(name: str, field: str, when: float) -> None:
    message = msgspec.structs.replace(ALL[name], **{field: when})
    with pytest.raises(WireError) as caught:
        decode(encode(message), type(ALL[name]), limit_bytes=LIMIT)
    assert caught.value.path == f"$.{field}"


@pytest.mark.parametrize("field", ["step", "steps"])
def test_progress_does_not_go_below_nothing(field: str) -> None:
    with pytest.raises(WireError, match=">= 0"):
        decode(encode(msgspec.structs.replace(ALL["Progress"], **{field: -1})), m.Progress, limit_bytes=LIMIT)


def test_messages_are_those_of_the_two_unions() -> None:
    assert {type(message) for message in SITE_MESSAGES} == set(m.SiteMessage.__args__)
    assert {type(message) for message in AGGREGATOR_MESSAGES} == set(m.AggregatorMessage.__args__)
