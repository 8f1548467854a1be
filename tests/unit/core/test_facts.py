# SPDX-License-Identifier: Apache-2.0
import pytest

from fedagent.core.facts import Facts, Instant
from tests.fakes.scenes import facts


def test_an_instant_has_both_clocks() -> None:
    now = Instant(12.5, 1_750_000_000.0)
    assert (now.monotonic, now.wall) == (12.5, 1_750_000_000.0)


@pytest.mark.parametrize("field", Facts.__struct_fields__)
def test_a_sample_never_changes(field: str) -> None:
    with pytest.raises(AttributeError, match="immutable"):
        setattr(facts(), field, 0)


@pytest.mark.parametrize("field", Facts.__struct_fields__)
def test_a_sample_says_everything(field: str) -> None:
    complete = {name: getattr(facts(), name) for name in Facts.__struct_fields__ if name != field}
    with pytest.raises(TypeError, match=field):
        Facts(**complete)
