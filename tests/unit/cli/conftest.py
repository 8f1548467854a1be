# SPDX-License-Identifier: Apache-2.0
"""A site's settings file in a folder of its own, for commands."""

from pathlib import Path

import pytest

from tests.fakes.scenes import SITE


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """``fedagent.toml``; run-time, approvals and datasets folders lie beside it."""
    for folder in ("run", "approvals.d", "datasets.d"):
        (tmp_path / folder).mkdir()
    path = tmp_path / "fedagent.toml"
    path.write_text(
        f'site.name = "{SITE}"\nbroker.host = "broker"\n'
        f'paths.runtime = "{tmp_path}/run"\npaths.approvals = "{tmp_path}/approvals.d"\n'
        f'paths.datasets = "{tmp_path}/datasets.d"\n'
    )
    return path
