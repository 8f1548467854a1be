# SPDX-License-Identifier: Apache-2.0
"""What the integration tests share: a real mosquitto."""

from pathlib import Path

import pytest

from fedagent.demo.broker import MosquittoProgram, find_mosquitto

CACHE = Path(__file__).parents[2] / "build" / "mosquitto"


@pytest.fixture(scope="session")
def mosquitto() -> MosquittoProgram:
    """The machine's own, or one unpacked below build/."""
    return find_mosquitto(CACHE)
