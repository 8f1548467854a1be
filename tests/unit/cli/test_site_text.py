# SPDX-License-Identifier: Apache-2.0
"""A site's status as a person reads it, in the faults that people meet. Clocks show UTC; ``NOW`` is 15:18:40."""

from collections.abc import Callable

import msgspec
import pytest

from fedagent.cli import layout
from fedagent.cli.site_text import site_facts, site_rows
from fedagent.conditions.broker import CONNECTION_REFUSED
from fedagent.conditions.condition import Said
from fedagent.core import events as on
from fedagent.core.governor import ManualPause
from fedagent.core.settings import GovernorSettings, TimeWindow
from fedagent.core.state import AgentState, note_error
from fedagent.site.status import SiteStatus, StorageView, view
from fedagent.transport.outage import LinkStatus
from tests.fakes.scenes import (
    GO,
    LOST,
    NAME,
    at,
    declined,
    delivered,
    facts,
    play,
    ready,
    sampled,
    sending,
    site,
    training,
    waiting,
)

NOW = 720.0
UP = LinkStatus(connected=True, reason="", since=at(-60).wall)
REFUSED = CONNECTION_REFUSED(where="localhost:8883")
DOWN = LinkStatus(connected=False, reason=REFUSED.text, since=at(600).wall, retry_in_s=21.0)
SILENT = {
    "connected": True,
    "silent_since": at(540).monotonic,
    "asked_at": at(700).monotonic,
    "ask_after_s": 60.0,
}


def seen(state: AgentState, link: LinkStatus = UP, seconds: float = NOW) -> SiteStatus:
    return view(state, link, at(seconds), bytes_up=1_500, bytes_down=2_500_000)


def shown(state: AgentState, link: LinkStatus = UP) -> list[str]:
    """Without the lines that no fault changes."""
    usual = ("site ", "machine ", "yielded ")
    made = layout.lines(site_rows(seen(state, link)), None)
    return [line for line in made if not line.startswith(usual)]


def test_a_broker_that_is_down() -> None:
    state, _ = play(sending(), [on.Connected(), (600, on.Disconnected(reason=REFUSED))])
    assert shown(state, DOWN) == [
        "broker      not connected for 2 min, since 15:16:40; tries again in 21 s, at 15:19:01",
        f"            {REFUSED}",
        "training    allowed for 12 min, since 15:06:40",
        "trainer     idle for 12 min, since 15:06:40",
        "",
        "study       heart-1, round 1 of 10",
        "  state     sending the update for 12 min, since 15:06:40",
        "  waits for a connection to the broker; tries again in 21 s, at 15:19:01",
        "  deadline  of this round in 23 h 48 min, at 2025-06-16 15:06:40",
    ]
    assert shown(state, msgspec.structs.replace(DOWN, retry_in_s=None))[0].endswith("; trying now")
    fresh = LinkStatus(connected=False, reason="", since=at(719).wall)
    lines = shown(site(), fresh)
    assert lines[0] == "broker      not connected for 1 s, since 15:18:39; trying now"
    assert lines[-1] == "studies     none known: they come from the broker"


def test_an_aggregator_that_is_down() -> None:
    lines = shown(msgspec.structs.replace(sending(), **SILENT))
    assert lines[:2] == [
        "broker      connected for 13 min, since 15:05:40; 1.5 kB sent, 2.5 MB received",
        "aggregator  does not answer for 3 min, since 15:15:40; asks again in 40 s, at 15:19:20",
    ]
    assert "  waits for the aggregator, which does not answer; tries again in 40 s, at 15:19:20" in lines


def test_a_study_that_nobody_approved() -> None:
    assert shown(waiting())[-3:] == [
        "  state     waiting for approval for 12 min, since 15:06:40",
        (
            "  waits for this site's administrator: study heart-1 is not approved here;"
            " sudo fedagent study approve heart-1 --dataset NAME"
        ),
        "  deadline  of this round in 23 h 48 min, at 2025-06-16 15:06:40",
    ]


def test_a_worker_that_crashed() -> None:
    state, _ = play(training(), [(719, LOST)])
    lines = shown(state)
    assert lines[2:3] == [
        "trainer     not running for 1 s, since 15:18:39; failed once, is started again in 1 s, at 15:18:41"
    ]
    assert lines[-3:] == [
        "  waits for the trainer to start after it failed; tries again in 1 s, at 15:18:41",
        "  deadline  of this round in 23 h 48 min, at 2025-06-16 15:06:40",
        (
            "  error     the last, 1 s ago, at 15:18:39: the trainer ended: killed by SIGKILL;"
            " see in the kernel's log (journalctl -k) whether memory ran out [FA5102]"
        ),
    ]
    assert not any(line.startswith("error") for line in lines)  # the study has said it


def test_a_site_that_declined() -> None:
    assert shown(declined())[-4:] == [
        "  state     declined for 12 min, since 15:06:40",
        "  waits for this round to end: the site takes no part in it",
        "  deadline  of this round in 23 h 48 min, at 2025-06-16 15:06:40",
        "  error     the last, 12 min ago, at 15:06:40: the loss is NaN [FA7063]",
    ]


def paused(until: float | None) -> AgentState:
    pause = ManualPause(by="anna", reason="MRI", until=until)
    return play(training(), [(60, on.PauseAsked(pause=pause))])[0]


def closed() -> AgentState:
    policy = GovernorSettings(windows=(TimeWindow(start="18:00", end="23:00"),))
    return play(msgspec.structs.replace(ready(), policy=policy), [(NOW, sampled(NOW))])[0]


@pytest.mark.parametrize(
    ("begin", "lines"),
    [
        pytest.param(
            lambda: paused(None),
            [
                "training    not allowed now: paused by anna: MRI (for 11 min, since 15:07:40)",
                "trainer     paused on heart-1, step 10 of 50 for 11 min, since 15:07:40",
            ],
            id="until resumed",
        ),
        pytest.param(
            lambda: paused(at(1320).wall),
            [
                (
                    "training    not allowed now: paused by anna: MRI (for 11 min, since 15:07:40);"
                    " until 15:28:40, 10 min from now"
                ),
                "trainer     paused on heart-1, step 10 of 50 for 11 min, since 15:07:40",
            ],
            id="for a time",
        ),
        pytest.param(
            closed,
            [
                (
                    "training    not allowed now: outside the hours in which training is allowed (for 12 min, since 15:06:40);"
                    " until 21:18:00, 5 h 59 min from now"
                ),
                "trainer     not running for 28 min, since 14:50:00",
            ],
            id="outside the hours",
        ),
    ],
)
def test_a_clinic_that_needs_its_machine(begin: Callable[[], AgentState], lines: list[str]) -> None:
    assert shown(begin())[1:3] == lines


def test_an_error_of_the_site_is_shown_with_its_code() -> None:
    state = note_error(site(standing=GO), Said("FA1004", "cannot write /x: no space"), at(660))
    assert "error       the last, 60 s ago, at 15:17:40: cannot write /x: no space [FA1004]" in shown(state)


def test_a_site_that_observes_says_so() -> None:
    (first, *_) = layout.lines(site_rows(seen(site(observe=True))), None)
    assert first.endswith(", observes only: it never trains)")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"cpu_others_ratio": None}, "others use an unknown share of the CPU, 8192 MiB of memory available"),
        ({"memory_available_mib": None}, "others use 0% of the CPU, unknown memory available"),
    ],
    ids=["no CPU", "no memory"],
)
def test_what_cannot_be_read_is_called_unknown(changes: dict[str, object], line: str) -> None:
    made = layout.lines(site_rows(seen(site(facts=facts(**changes)))), None)
    assert f"machine     {line}" in made


def test_time_alone_and_counters_change_no_fact() -> None:
    state = delivered()
    later = msgspec.structs.replace(seen(state, seconds=NOW + 60), cpu_others_ratio=0.5, yielded_s=7.0)
    assert site_facts(later) == site_facts(seen(state))


@pytest.mark.parametrize("change", [training, declined, waiting, lambda: paused(None)])
def test_what_happens_is_another_fact(change: Callable[[], AgentState]) -> None:
    assert site_facts(seen(change())) != site_facts(seen(delivered()))
    assert site_facts(seen(delivered(), DOWN)) != site_facts(seen(delivered()))
    assert NAME in str(site_facts(seen(delivered())))


def test_a_disk_that_is_full() -> None:
    full = StorageView(text="cannot write /x: no space; free space there", since=at(660).wall)
    status = msgspec.structs.replace(seen(site()), storage=full)
    made = layout.lines(site_rows(status), None)
    said = (
        "storage     waits for room: cannot write /x: no space; free space there (for 60 s, since 15:17:40)"
    )
    assert said in made
    assert "studies     none known: what the aggregator says of one waits for room" in made
    assert site_facts(status) != site_facts(seen(site()))
