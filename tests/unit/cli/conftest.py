# SPDX-License-Identifier: Apache-2.0
"""A site's settings file in a folder of its own, for commands."""

from pathlib import Path

import pytest

from tests.fakes.daemon import write_settings


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """``fedagent.toml``, with the run-time, approvals and datasets folders beside it."""
    return write_settings(tmp_path)
