# SPDX-License-Identifier: Apache-2.0
"""The studies' status as a person at the centre reads it. Clocks show UTC; ``NOW`` is 12:00:00."""

import msgspec
import pytest

from fedagent.aggregator.control import BrokerView
from fedagent.aggregator.part_report import ErrorView, PartStatus
from fedagent.aggregator.reports import DaemonView, Report, StudyStatus
from fedagent.cli import layout
from fedagent.cli.study_text import report_facts, report_rows

NOW = 1_750_075_200.0  # 2025-06-16 12:00:00
UP = BrokerView(connected=True, since=NOW - 7200, reason="", retry_at=None)
REFUSED = "localhost:8883 refused the connection"
DOWN = BrokerView(connected=False, since=NOW - 720, reason=REFUSED, retry_at=NOW + 21)
PART = PartStatus(
    site="north", phase="joined", since=NOW - 720, connected=True, connected_since=NOW - 7200, heard_at=NOW - 5,
    verdict="", text="training 10/50", waits_for="the site's update", until=NOW + 3600, last_error=None,
)  # fmt: skip
STUDY = StudyStatus(
    name="heart", phase="running", since=NOW - 7200, digest="", round=3, round_kind="train", rounds=10,
    round_phase="open", round_since=NOW - 720, waits_for="north, south; 0 of at least 2 updates are here",
    deadline_at=NOW + 3600, quorum=2, reason="", parts=(PART,), left_out=(), metrics={}, best_model=None,
)  # fmt: skip


def report(broker: BrokerView | None = UP, **changes: object) -> Report:
    study = msgspec.structs.replace(STUDY, **changes)
    return Report(at=NOW, aggregator=DaemonView(running=broker is not None, broker=broker), studies=(study,))


def shown(found: Report) -> list[str]:
    return layout.lines(report_rows(found), None)


def part(**changes: object) -> list[str]:
    """The lines of the part."""
    return shown(report(parts=(msgspec.structs.replace(PART, **changes),)))[6:]


def test_a_study_that_goes_well() -> None:
    assert shown(report(metrics={"auc": 0.75}, left_out=("west",))) == [
        "aggregator  running; connected to the broker for 2 h 0 min, since 10:00:00",
        "",
        "study       heart, round 3 of 10",
        "  state     running for 2 h 0 min, since 10:00:00; this round is open for 12 min, since 11:48:00",
        "  waits for north, south; 0 of at least 2 updates are here",
        "  deadline  of this round in 1 h 0 min, at 13:00:00",
        "  before    round 2 closed without west",
        "  metrics   of the last round: auc 0.7500",
        "  north     joined (training 10/50) for 12 min, since 11:48:00; last heard 5 s ago, at 11:59:55",
        "            waits for the site's update",
    ]


def test_a_broker_that_is_down() -> None:
    assert shown(report(DOWN))[:2] == [
        "aggregator  running; not connected to the broker for 12 min, since 11:48:00; tries again in 21 s, at 12:00:21",
        f"            {REFUSED}",
    ]
    trying = msgspec.structs.replace(DOWN, retry_at=None, reason="")
    assert shown(report(trying))[:2] == [
        "aggregator  running; not connected to the broker for 12 min, since 11:48:00; trying now",
        "",
    ]


@pytest.mark.parametrize(("code", "end"), [("FA4001", " [FA4001]"), ("", "")])
def test_an_aggregator_that_is_down(code: str, end: str) -> None:
    error = ErrorView(code=code, text="fedaggregator is not running", at=NOW)
    down = msgspec.structs.replace(report(), aggregator=DaemonView(running=False, error=error))
    assert shown(down)[:2] == [
        f"aggregator  fedaggregator is not running{end}",
        "            what follows is what it last wrote down",
    ]


def test_a_site_that_never_answers() -> None:
    never: dict[str, object] = {"connected": None, "connected_since": None, "heard_at": None}
    assert part(phase="invited", text="", waits_for="the site, which has never been here", **never) == [
        "  north     invited for 12 min, since 11:48:00; never heard of",
        "            waits for the site, which has never been here",
    ]
    gone: dict[str, object] = {"connected": False, "connected_since": NOW - 60, "text": ""}
    assert part(waits_for="the site to come back", **gone) == [
        "  north     joined for 12 min, since 11:48:00; not connected for 60 s, since 11:59:00",
        "            waits for the site to come back",
    ]


def test_a_site_that_declined() -> None:
    error = ErrorView(code="too-few-rows", text="too few patients are usable here", at=NOW - 720)
    assert part(phase="declined", text="", waits_for="the next round", last_error=error) == [
        "  north     declined for 12 min, since 11:48:00; last heard 5 s ago, at 11:59:55",
        "            waits for the next round",
        "            last error, 12 min ago, at 11:48:00: too few patients are usable here [too-few-rows]",
    ]
    uncoded = msgspec.structs.replace(error, code="")
    assert part(last_error=uncoded)[-1].endswith("too few patients are usable here")


def test_a_site_whose_update_is_here_waits_like_its_study() -> None:
    assert len(part(phase="stored", text="", waits_for="the other sites")) == 1


def test_a_round_that_was_extended_says_why() -> None:
    assert "  because   1 of 2 needed updates at the deadline" in shown(
        report(reason="1 of 2 needed updates at the deadline")
    )


def test_an_evaluation_has_no_number_and_a_study_that_has_ended_no_round_that_lasts() -> None:
    over = shown(report(phase="ended", round_kind="evaluate", waits_for="", deadline_at=None, parts=()))
    assert over[2:] == [
        "study       heart, evaluation of the final model",
        "  state     ended for 2 h 0 min, since 10:00:00",
    ]
    assert shown(report(round=None, round_since=None, parts=()))[2] == "study       heart"


def test_without_a_study_the_next_step_is_named() -> None:
    empty = Report(at=NOW, aggregator=DaemonView(running=True, broker=UP), studies=())
    assert shown(empty)[1:] == ["studies     none yet: fedaggregator study create FILE"]


def test_a_long_name_keeps_its_letters() -> None:
    assert part(site="university-hospital-north")[0].startswith("  university-hospital-north joined ")


def test_time_alone_and_every_message_change_no_fact() -> None:
    later = report(parts=(msgspec.structs.replace(PART, heard_at=NOW + 1, text="training 11/50"),))
    assert report_facts(msgspec.structs.replace(later, at=NOW + 2)) == report_facts(report())
    assert report_facts(report(DOWN)) != report_facts(report())
    assert report_facts(report(None)) != report_facts(report())
    assert report_facts(report(parts=(msgspec.structs.replace(PART, phase="declined"),))) != report_facts(
        report()
    )
