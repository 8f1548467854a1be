# SPDX-License-Identifier: Apache-2.0
"""Who is late, silent, stopped or there twice: the round has an end and a reason, and the model is the same.

The study's model does not depend on who takes part, so each of these must give the model of the undisturbed run.
"""

import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from fedagent.aggregator.store import Store
from fedagent.conditions.condition import ExitCode
from fedagent.demo.hospital import Hospital
from fedagent.demo.processes import module
from tests.fakes.mqtt_proxy import PUBLISH, Forward, Packet, nth, tell
from tests.faults.arena import AGGREGATOR, LIMIT_S, NAMES, SITE_PROGRAM, Arena, Prepared, transfer_study
from tests.faults.conftest import Digest

pytestmark = pytest.mark.timeout(400)

STOPPED_S = 60.0
"""Longer than the broker waits for a sign of life: one and a half times the keepalive of 20 s."""

SLOW_S = 3.0
"""Every chunk's time on its way, so that all sites are sending at once."""

SHORT = transfer_study("north", "south", rounds=3, parameters=80_000, deadline_s=6.0, quorum=1)
WIDE = transfer_study(*NAMES)
PLAIN = transfer_study("north", "south")


class Uploads:
    """Once it looks, it slows down what the aggregator gets of updates, and knows who has sent of one."""

    def __init__(self) -> None:
        self.looking = threading.Event()
        self.seen: set[str] = set()

    def script(self, packet: Packet) -> Sequence[Forward]:
        if not self.looking.is_set() or packet.kind != PUBLISH or not packet.topic.endswith("/chunk"):
            return (Forward(packet.raw),)
        self.seen.add(packet.topic.split("/")[3])
        return (Forward(packet.raw, SLOW_S),)


def test_an_aggregator_that_stands_still_under_eight_uploads_loses_none(
    tmp_path: Path, prepared: Prepared, undisturbed: Digest
) -> None:
    expected = undisturbed(PLAIN)
    arena, uploads = Arena(prepared, tmp_path, WIDE), Uploads()
    sites = WIDE.federation.sites
    with arena.running(), arena.proxy(AGGREGATOR, down=uploads.script):
        programs = arena.start_all()
        arena.wait("round 2", arena.in_round("north", 2), 2 * LIMIT_S)
        uploads.looking.set()
        arena.wait("eight uploads", lambda: len(uploads.seen) == len(sites), LIMIT_S)
        os.kill(programs[AGGREGATOR].pid, signal.SIGSTOP)
        assert arena.phases() == dict.fromkeys(sites, "sending the update")
        uploads.looking.clear()
        threading.Event().wait(STOPPED_S)
        os.kill(programs[AGGREGATOR].pid, signal.SIGCONT)
        assert arena.final_model(2 * LIMIT_S) == expected
    assert arena.took_part() == [set(sites)] * 3


def test_a_site_that_joins_late_takes_part_from_then_on(
    tmp_path: Path, prepared: Prepared, undisturbed: Digest
) -> None:
    expected = undisturbed(SHORT)
    arena = Arena(prepared, tmp_path, SHORT)
    with arena.running():
        arena.launch(AGGREGATOR)
        arena.launch("north")
        arena.wait("round 2", arena.in_round("north", 2), LIMIT_S)
        arena.launch("south")
        assert arena.final_model() == expected
    rounds = arena.took_part()
    assert rounds[0] == {"north"}
    assert "south" in set().union(*rounds)


def test_a_site_that_never_answers_is_not_waited_for_beyond_the_deadline(
    tmp_path: Path, prepared: Prepared, undisturbed: Digest
) -> None:
    expected = undisturbed(SHORT)
    arena = Arena(prepared, tmp_path, SHORT)
    absent = arena.hospitals.pop()
    with arena.running():
        arena.start_all()
        arena.wait("the first update", lambda: arena.phases().get("north") == "delivered", LIMIT_S)
        assert absent.name in arena.status().waits_for
        arena.wait("round 2", arena.in_round("north", 2), LIMIT_S)
        shown = arena.fedaggregator("study", "status", SHORT.name)
        assert f"round 1 closed without {absent.name}" in shown
        assert arena.final_model() == expected
    assert arena.took_part() == [{"north"}] * 4  # three of training, one of evaluation


def test_an_update_that_comes_after_the_close_is_refused_with_its_reason(
    tmp_path: Path, prepared: Prepared, undisturbed: Digest
) -> None:
    expected = undisturbed(SHORT)
    arena, offered = Arena(prepared, tmp_path, SHORT), threading.Event()
    with arena.running(), arena.proxy("south", up=tell(offered, nth("manifest", 1))):
        programs = arena.start_all()
        assert offered.wait(LIMIT_S)
        os.kill(programs["south"].pid, signal.SIGSTOP)
        arena.wait("round 2", arena.in_round("north", 2), LIMIT_S)
        os.kill(programs["south"].pid, signal.SIGCONT)
        assert arena.final_model() == expected
    assert "ended our part in round 1: the round is closed" in arena.hospital("south").log.read_text()


def test_a_copied_machine_is_stopped_and_told_and_does_no_harm(
    tmp_path: Path, prepared: Prepared, undisturbed: Digest
) -> None:
    expected = undisturbed(PLAIN)
    arena = Arena(prepared, tmp_path, PLAIN)
    original = arena.hospital("north")
    copied = arena.clone("north", tmp_path / "cloned-machine")
    with arena.running():
        arena.launch(AGGREGATOR)
        arena.launch("north")
        arena.wait("the first word", partial(was_heard, arena, "north"), LIMIT_S)
        words = module(SITE_PROGRAM, "run", "--config", str(copied.config))
        ended = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        arena.launch("south")
        assert arena.final_model(2 * LIMIT_S) == expected
    assert ended.returncode == ExitCode.CONFIGURATION, "systemd does not start it again"
    assert "another machine was running as site north" in ended.stderr.splitlines()[-1]
    assert "[FA7901]" in ended.stderr.splitlines()[-1]
    assert "another machine started to use the key and certificate of site north" in original.log.read_text()
    assert "two machines use the identity of site north" in arena.aggregator_log.read_text()


def test_a_copy_that_runs_instead_of_the_original_goes_on_where_that_was(
    tmp_path: Path, prepared: Prepared, undisturbed: Digest
) -> None:
    """A machine that was moved, or restored from a backup."""
    expected = undisturbed(PLAIN)
    arena = Arena(prepared, tmp_path, PLAIN)
    original = arena.hospital("north")
    with arena.running():
        arena.launch(AGGREGATOR)
        arena.launch("north")
        arena.wait("the connection", lambda: connected(original), LIMIT_S)
        arena.programs.kill("north")
        moved = arena.clone("north", tmp_path / "another-machine")
        arena.hospitals[arena.hospitals.index(original)] = moved
        arena.launch("north")
        arena.launch("south")
        assert arena.final_model(2 * LIMIT_S) == expected


def was_heard(arena: Arena, name: str) -> bool:
    """Whether the aggregator knows which start of that site's daemon it hears."""
    store = Store(arena.centre / "state" / "aggregator.sqlite")
    try:
        row = store.database.connection.execute("SELECT 1 FROM instance WHERE site = ?", (name,)).fetchone()
    finally:
        store.close()
    return row is not None


def connected(hospital: Hospital) -> bool:
    status = hospital.status()
    return status is not None and status.broker.connected
