# SPDX-License-Identifier: Apache-2.0
"""What the fault tests share: a mosquitto, a federation that is ready to start, and what undisturbed runs gave."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fedagent.demo.broker import MosquittoProgram, find_mosquitto
from fedagent.wire.study import Study
from tests.faults.arena import Arena, Prepared, prepare

CACHE = Path(__file__).parents[2] / "build" / "mosquitto"

Digest = Callable[[Study], str]


@pytest.fixture(scope="session")
def mosquitto() -> MosquittoProgram:
    """The machine's own, or one unpacked below build/."""
    return find_mosquitto(CACHE)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory, mosquitto: MosquittoProgram) -> Prepared:
    """A study centre that four hospitals have joined; nothing runs. Every test copies it."""
    return prepare(tmp_path_factory.mktemp("prepared"), mosquitto)


@pytest.fixture(scope="session")
def undisturbed(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Digest:
    """The final model's digest of a study that nothing disturbs; run once for each study."""
    known: dict[str, str] = {}

    def digest(study: Study) -> str:
        if study.name not in known:
            arena = Arena(prepared, tmp_path_factory.mktemp(study.name), study)
            with arena.running():
                arena.start_all()
                known[study.name] = arena.final_model()
        return known[study.name]

    return digest
