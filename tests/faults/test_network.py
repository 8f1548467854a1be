# SPDX-License-Identifier: Apache-2.0
"""What a network and a broker may do to messages: repeat, reorder, delay, lose them, cut the line or fall silent."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.fakes.mqtt_proxy import (
    Freeze,
    Script,
    cut_every,
    duplicate_every,
    late_every,
    lose,
    nth,
    once,
)
from tests.faults.arena import LIMIT_S, Arena, Prepared, training_study, transfer_study
from tests.faults.conftest import Digest

pytestmark = pytest.mark.timeout(400)

STUDY = training_study("north", "south")
LARGE = transfer_study("north", "south")


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(lambda _: duplicate_every(3), id="every third comes twice"),
        pytest.param(lambda _: late_every(2, 0.3), id="reordered in pairs"),
        pytest.param(lambda _: late_every(1, 1.0), id="a second late"),
        pytest.param(lambda seed: lose(0.05, seed), id="one in twenty lost"),
    ],
)
def test_what_happens_to_messages_changes_no_model(
    tmp_path: Path, prepared: Prepared, undisturbed: Digest, script: Callable[[int], Script]
) -> None:
    expected = undisturbed(STUDY)
    arena = Arena(prepared, tmp_path, STUDY)
    with arena.running(), ExitStack() as proxies:
        for seed, name in enumerate(STUDY.federation.sites):
            proxies.enter_context(arena.proxy(name, up=script(2 * seed), down=script(2 * seed + 1)))
        arena.start_all()
        assert arena.final_model(3 * LIMIT_S) == expected


def test_a_line_that_is_cut_again_and_again_changes_no_model(
    tmp_path: Path, prepared: Prepared, undisturbed: Digest
) -> None:
    expected = undisturbed(LARGE)
    arena = Arena(prepared, tmp_path, LARGE)
    with arena.running(), arena.proxy("north", up=cut_every(40)) as proxy:
        arena.start_all()
        assert arena.final_model(3 * LIMIT_S) == expected
        assert proxy.connections > 4
    for log in (arena.aggregator_log, arena.hospital("north").log):
        assert "another machine" not in log.read_text()
        assert "two machines" not in log.read_text(), "a line that is cut again and again is no copy"


@pytest.mark.parametrize(
    ("way", "kind", "number"),
    [pytest.param("down", "blob", 20, id="mid-download"), pytest.param("up", "chunk", 20, id="mid-upload")],
)
def test_a_half_open_connection_is_noticed_and_made_anew(
    tmp_path: Path, prepared: Prepared, undisturbed: Digest, way: str, kind: str, number: int
) -> None:
    expected = undisturbed(LARGE)
    arena = Arena(prepared, tmp_path, LARGE)
    silent = {way: once(Freeze(), nth(kind, number))}
    with arena.running(), arena.proxy("north", **silent) as proxy:
        arena.start_all()
        assert arena.final_model(2 * LIMIT_S) == expected
        assert proxy.connections == 2
