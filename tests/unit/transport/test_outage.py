# SPDX-License-Identifier: Apache-2.0
"""Since when there is a connection or none; a reason is news once."""

from fedagent.transport.outage import Outage


def test_nothing_was_tried_yet() -> None:
    status = Outage().status(None)
    assert (status.connected, status.reason, status.retry_in_s) == (False, "", None)
    assert status.since > 0.0


def test_a_reason_is_news_once_an_outage_and_the_last_one_is_shown() -> None:
    outage = Outage()
    assert [outage.goes_on(reason) for reason in ("refused", "refused", "no route", "refused")] == [
        True,
        False,
        True,
        False,
    ]
    assert outage.status(21.0).reason == "refused"
    assert outage.status(21.0).retry_in_s == 21.0
    outage.over()
    assert outage.goes_on("refused")


def test_an_outage_lasts_since_it_began_and_so_does_a_connection() -> None:
    outage = Outage()
    begun = outage.status(None).since
    outage.goes_on("refused")
    assert outage.status(None).since == begun
    outage.over()
    came = outage.status(None)
    assert (came.connected, came.reason) == (True, "")
    assert came.since > begun
    outage.goes_on("reset")
    lost = outage.status(None)
    assert not lost.connected
    assert lost.since > came.since
    outage.goes_on("refused")
    assert outage.status(None).since == lost.since
