# SPDX-License-Identifier: Apache-2.0
"""Times for people: how long, since when, until when.

Rule: each time stands there twice, as a span that needs no arithmetic and as the clock that the journal shows.
"""

from datetime import datetime
from typing import Final

_MINUTE_S: Final = 60
_HOUR_S: Final = 3600
_DAY_S: Final = 86_400
_IN_SECONDS_S: Final = 100
"""Up to here people count seconds."""


def span(seconds: float) -> str:
    """How long, in at most two units."""
    whole = round(max(0.0, seconds))
    if whole < _IN_SECONDS_S:
        return f"{whole} s"
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S} min"
    if whole < _DAY_S:
        return f"{whole // _HOUR_S} h {whole % _HOUR_S // _MINUTE_S} min"
    return f"{whole // _DAY_S} d {whole % _DAY_S // _HOUR_S} h"


def clock(at: float, now: float) -> str:
    """A Unix time in the machine's own zone, with the day where it is not today."""
    moment, today = (datetime.fromtimestamp(each).astimezone() for each in (at, now))
    return moment.strftime("%H:%M:%S" if moment.date() == today.date() else "%Y-%m-%d %H:%M:%S")


def since(at: float, now: float) -> str:
    """For how long something is so."""
    return f"for {span(now - at)}, since {clock(at, now)}"


def ago(at: float, now: float) -> str:
    """When something was."""
    return f"{span(now - at)} ago, at {clock(at, now)}"


def due(at: float, now: float) -> str:
    """When something will be, or should have been."""
    return (
        f"in {span(at - now)}, at {clock(at, now)}"
        if at >= now
        else f"{span(now - at)} overdue, was due at {clock(at, now)}"
    )
