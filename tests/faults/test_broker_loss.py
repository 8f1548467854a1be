# SPDX-License-Identifier: Apache-2.0
"""The broker dies and comes back empty or with what it had saved, or drops what its queues cannot hold: the same model,
bit for bit."""

import os
import re
import signal
import threading
from pathlib import Path

import pytest

from tests.fakes.mqtt_proxy import nth, tell
from tests.faults.arena import AGGREGATOR, LIMIT_S, Arena, Prepared, transfer_study
from tests.faults.conftest import Digest

pytestmark = pytest.mark.timeout(300)

STUDY = transfer_study("north", "south")
VICTIM = "north"
DROPPED = "being dropped"
WINDOW = 32
"""Chunks of one site under way at once: more than the tiny queue holds."""


def keep_state(arena: Arena, folder: Path) -> None:
    """A broker that saves each change to its disk, so that a kill leaves it with sessions and messages of the past."""
    settings = arena.centre / "mosquitto.conf"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    kept = (
        f"persistence true\npersistence_location {folder}/\nautosave_on_changes true\nautosave_interval 1\n"
    )
    text, count = re.subn(r"(?m)^persistence false\n", kept, settings.read_text())
    assert count == 1
    settings.write_text(text)


@pytest.mark.parametrize("wiped", [True, False], ids=["wiped", "with its state"])
@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(("down", "blob", 20), id="mid-download"),
        pytest.param(("up", "chunk", 20), id="mid-upload"),
        pytest.param(("down", "receipt", 1), id="between rounds"),
    ],
)
def test_a_killed_broker_changes_no_model(
    tmp_path: Path, prepared: Prepared, undisturbed: Digest, moment: tuple[str, str, int], wiped: bool
) -> None:
    expected, (way, kind, number) = undisturbed(STUDY), moment
    arena, there = Arena(prepared, tmp_path, STUDY), threading.Event()
    if not wiped:
        keep_state(arena, tmp_path / "kept")
    with arena.running(), arena.proxy(VICTIM, **{way: tell(there, nth(kind, number))}):
        arena.start_all()
        assert there.wait(LIMIT_S)
        arena.broker.kill()
        assert not arena.ended()
        assert wiped or (tmp_path / "kept" / "mosquitto.db").stat().st_size > 0
        with arena.broker:
            assert arena.final_model() == expected


def limit_queues(arena: Arena, limits: str) -> None:
    """Instead of the limits that the study centre sets."""
    settings = arena.centre / "mosquitto.conf"
    text, count = re.subn(r"(?m)^max_(queued|inflight)_messages .*\n", "", settings.read_text())
    assert count == 2
    settings.write_text(limits + text)
    for name in (AGGREGATOR, *STUDY.federation.sites):
        arena.configure(name, "transfer", window=WINDOW)


def test_with_mosquittos_default_queues_nothing_is_dropped(
    tmp_path: Path, prepared: Prepared, undisturbed: Digest
) -> None:
    expected = undisturbed(STUDY)
    arena = Arena(prepared, tmp_path, STUDY)
    limit_queues(arena, "")
    with arena.running():
        arena.start_all()
        assert arena.final_model() == expected
    assert DROPPED not in (tmp_path / "broker.log").read_text()


def test_what_a_full_queue_drops_is_not_taken_as_delivered(
    tmp_path: Path, prepared: Prepared, undisturbed: Digest
) -> None:
    expected = undisturbed(STUDY)
    arena, uploading = Arena(prepared, tmp_path, STUDY), threading.Event()
    limit_queues(arena, "max_queued_messages 10\nmax_inflight_messages 2\n")
    log = tmp_path / "broker.log"
    with arena.running(), arena.proxy(VICTIM, up=tell(uploading, nth("chunk", 5))):
        aggregator = arena.start_all()[AGGREGATOR]
        assert uploading.wait(LIMIT_S)
        os.kill(aggregator.pid, signal.SIGSTOP)
        try:
            arena.wait("the full queue", lambda: DROPPED in log.read_text(), LIMIT_S)
        finally:
            os.kill(aggregator.pid, signal.SIGCONT)
        assert arena.final_model(2 * LIMIT_S) == expected
