# SPDX-License-Identifier: Apache-2.0
"""A site's settings file in a folder of its own, for commands."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.daemon import write_settings


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Clocks show UTC."""
    with monkeypatch.context() as changed:
        changed.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """``fedagent.toml``, with the run-time, approvals and datasets folders beside it."""
    return write_settings(tmp_path)
