# SPDX-License-Identifier: Apache-2.0
"""A site's part as people at the centre see it, for every reason for which nothing comes."""

import msgspec
import pytest

from fedagent.aggregator.part_report import SILENT_S, ErrorView, PartStatus, part_status
from fedagent.aggregator.roster import SiteRecord
from fedagent.aggregator.rounds import Part, open_round
from fedagent.aggregator.tables import PartPhase, RoundPhase
from fedagent.wire.messages import RoundKind
from tests.fakes.examples import STUDY

A = "clinic-a"
NOW = 1000.0
ROUND = open_round(STUDY, 1, RoundKind.TRAIN, 0.0)
THERE = SiteRecord(name=A, online=True, since=500.0, version="0.1.0", verdict="go", reason="", heard_at=990.0)
BUSY = msgspec.structs.replace(THERE, verdict="no", reason="others use the CPU")
GONE = msgspec.structs.replace(BUSY, online=False)
SILENT = msgspec.structs.replace(THERE, heard_at=NOW - SILENT_S)
DECLINED = ErrorView(code="no-dataset", text="none", at=800.0)


def seen(
    phase: PartPhase = PartPhase.INVITED,
    site: SiteRecord | None = THERE,
    *,
    progress: str = "",
    **changes: object,
) -> PartStatus:
    part = Part(site=A, since=100.0, phase=phase)
    round_ = msgspec.structs.replace(ROUND, phase=changes.get("round_phase", RoundPhase.OPEN))
    error = changes.get("error")
    assert error is None or isinstance(error, ErrorView)
    return part_status(round_, part, site, progress=progress, error=error, now=NOW)


@pytest.mark.parametrize(
    ("status", "what"),
    [
        pytest.param(seen(site=None), "the site, which has never been here", id="never heard"),
        pytest.param(seen(site=GONE), "the site to come back", id="gone"),
        pytest.param(seen(PartPhase.JOINED, GONE), "the site to come back", id="gone while it trained"),
        pytest.param(seen(site=SILENT), "the site, which is silent", id="silent"),
        pytest.param(seen(progress="waiting for approval"), "the site's administrator to approve", id="not approved"),
        pytest.param(seen(progress="joining"), "the site to join", id="joins"),
        pytest.param(seen(site=BUSY, progress="joining"), "the site's machine: others", id="has no trainer yet"),
        pytest.param(seen(PartPhase.JOINED), "the site's update", id="trains"),
        pytest.param(seen(PartPhase.JOINED, BUSY), "the site's machine: others use the CPU", id="busy"),
        pytest.param(seen(PartPhase.OFFERED), "the rest of the site's update", id="sends"),
        pytest.param(seen(PartPhase.STORED, GONE), "the other sites", id="done, whatever became of it"),
        pytest.param(seen(PartPhase.DECLINED), "this round to end", id="declined"),
        pytest.param(seen(PartPhase.REFUSED), "this round to end", id="refused"),
    ],
)  # fmt: skip
def test_a_part_waits_for(status: PartStatus, what: str) -> None:
    assert status.waits_for.startswith(what)
    assert status.until == ROUND.deadline_at


@pytest.mark.parametrize("phase", [PartPhase.FOLDED, PartPhase.LATE, PartPhase.DECLINED])
def test_nothing_is_expected_of_a_round_that_is_closed(phase: PartPhase) -> None:
    status = seen(phase, round_phase=RoundPhase.CLOSED)
    assert (status.waits_for, status.until) == ("", None)


def test_a_part_is_shown_with_its_site() -> None:
    status = seen(PartPhase.JOINED, BUSY, progress="training 3/9")
    assert (status.site, status.phase, status.since, status.text) == (A, "joined", 100.0, "training 3/9")
    assert (status.connected, status.connected_since, status.heard_at) == (True, 500.0, 990.0)
    assert status.verdict == "others use the CPU"
    assert seen(PartPhase.STORED, progress="training 9/9").text == ""
    for before in ("joining", "waiting for approval"):
        assert seen(PartPhase.JOINED, progress=before).text == ""
    assert seen(progress="waiting for approval").text == "waiting for approval"


def test_a_site_that_was_never_here_has_no_times() -> None:
    status = seen(site=None)
    assert (status.connected, status.connected_since, status.heard_at, status.verdict) == (
        None,
        None,
        None,
        "",
    )


REFUSED = msgspec.structs.replace(THERE, error_code="FA3001", error_text="bad", error_at=900.0)
SHOWN = ErrorView(code="FA3001", text="refused a message: bad", at=900.0)


@pytest.mark.parametrize(
    ("site", "error", "last"),
    [
        (None, None, None),
        (None, DECLINED, DECLINED),
        (THERE, DECLINED, DECLINED),
        (REFUSED, None, SHOWN),
        (REFUSED, DECLINED, SHOWN),
        (msgspec.structs.replace(REFUSED, error_at=700.0), DECLINED, DECLINED),
    ],
)
def test_the_last_error_is_the_later_of_the_rounds_and_the_messages(
    site: SiteRecord | None, error: ErrorView | None, last: ErrorView | None
) -> None:
    assert seen(site=site, error=error).last_error == last
