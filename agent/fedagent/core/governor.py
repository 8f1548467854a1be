# SPDX-License-Identifier: Apache-2.0
"""May we train now? The verdict is derived from facts and policy, never stored.

Rule: the first objection wins and is the reason that people see. Not knowing is an objection.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from fedagent.conditions.condition import Said
from fedagent.conditions.site import (
    CPU_BUSY,
    CPU_NOT_KNOWN,
    DISK_NOT_KNOWN,
    DISK_SHORT,
    MACHINE_NOT_KNOWN,
    MEMORY_NOT_KNOWN,
    MEMORY_SHORT,
    NOT_JUDGED,
    OUTSIDE_HOURS,
    PAUSED,
    PAUSED_BECAUSE,
    TRAINING_ALLOWED,
    WAITING_IDLE,
)
from fedagent.core.facts import Facts, Instant
from fedagent.core.settings import GovernorSettings, TimeWindow

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_MINUTES: Final = 24 * 60
_HALF_A_CORE: Final = 0.5
"""Others' use below half a core never counts as a busy machine, however few cores it has."""


class Rung(StrEnum):
    """How far the trainer gets out of the way: it is frozen, or it ends and gives its memory back."""

    PAUSE = "pause"
    VACATE = "vacate"


class Objection(msgspec.Struct, frozen=True, kw_only=True):
    """Why not: the signal, its value and the threshold that it crossed, and what people are told."""

    rung: Rung
    signal: str
    said: Said
    value: float | None = None
    threshold: float | None = None
    repeats: int = 1
    """In how many samples in a row it must stand before a running trainer is paused."""


class ManualPause(msgspec.Struct, frozen=True, kw_only=True):
    """``fedagent pause``: until a wall-clock time, or until ``fedagent resume``."""

    by: str
    reason: str = ""
    until: float | None = None

    @property
    def said(self) -> Said:
        """Who paused, and why."""
        return PAUSED_BECAUSE(by=self.by, reason=self.reason) if self.reason else PAUSED(by=self.by)


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict as it has settled.

    Attributes:
        go: training is allowed.
        objection: the reason where it is not (or why not yet).
        since: wall-clock time of the last change of ``go``.
        strikes: samples in a row with an objection while ``go``.
        clear_since: monotonic time since when nothing objects, while not ``go``.
    """

    go: bool
    objection: Objection | None
    since: float
    strikes: int = 0
    clear_since: float | None = None

    @property
    def said(self) -> Said:
        """The verdict in words."""
        if self.go:
            return TRAINING_ALLOWED()
        return self.objection.said if self.objection else NOT_JUDGED()


def judge(
    facts: Facts | None,
    policy: GovernorSettings,
    now: Instant,
    *,
    pause: ManualPause | None,
    current: Standing,
) -> Objection | None:
    """The first objection against training now, or None."""
    if pause is not None and (pause.until is None or now.wall < pause.until):
        return Objection(rung=Rung.PAUSE, signal="pause", said=pause.said)
    if facts is None or now.monotonic - facts.taken_at > policy.facts_expire_s:
        return Objection(rung=Rung.PAUSE, signal="facts", said=MACHINE_NOT_KNOWN())
    checks: tuple[Callable[[], Objection | None], ...] = (
        lambda: _memory(facts, policy),
        lambda: _disk(facts, policy),
        lambda: _windows(facts, policy),
        lambda: _cpu(facts, policy, leave=current.go),
    )
    return next((found for check in checks if (found := check()) is not None), None)


def settle(
    current: Standing, objection: Objection | None, policy: GovernorSettings, now: Instant
) -> Standing:
    """The verdict after one more look: quick to leave, slow to return.

    A running trainer leaves after ``objection.repeats`` looks in a row; it returns once nothing has objected for
    ``resume_after_s``.
    """
    if current.go:
        if objection is None:
            return msgspec.structs.replace(current, strikes=0, objection=None)
        strikes = current.strikes + 1
        if strikes < objection.repeats:
            return msgspec.structs.replace(current, strikes=strikes)
        return Standing(go=False, objection=objection, since=now.wall)
    if objection is not None:
        return Standing(go=False, objection=objection, since=current.since)
    clear_since = now.monotonic if current.clear_since is None else current.clear_since
    if now.monotonic - clear_since >= policy.resume_after_s:
        return Standing(go=True, objection=None, since=now.wall)
    waiting = Objection(
        rung=Rung.PAUSE,
        signal="resume-after",
        said=WAITING_IDLE(wait_s=policy.resume_after_s),
        value=round(now.monotonic - clear_since, 1),
        threshold=policy.resume_after_s,
    )
    return Standing(go=False, objection=waiting, since=current.since, clear_since=clear_since)


def _memory(facts: Facts, policy: GovernorSettings) -> Objection | None:
    available, needed = facts.memory_available_mib, policy.memory_available_mib
    if available is None:
        return Objection(rung=Rung.PAUSE, signal="memory", said=MEMORY_NOT_KNOWN())
    if available >= needed:
        return None
    said = MEMORY_SHORT(available_mib=available, needed_mib=needed)
    return Objection(
        rung=Rung.VACATE, signal="memory", said=said, value=float(available), threshold=float(needed)
    )


def _disk(facts: Facts, policy: GovernorSettings) -> Objection | None:
    """Frozen, a worker writes nothing; ended, it could not keep what it has done."""
    free, needed = facts.disk_free_mib, policy.disk_free_mib
    if free is None:
        return Objection(rung=Rung.PAUSE, signal="disk", said=DISK_NOT_KNOWN())
    if free >= needed:
        return None
    said = DISK_SHORT(free_mib=free, needed_mib=needed)
    return Objection(rung=Rung.PAUSE, signal="disk", said=said, value=float(free), threshold=float(needed))


def _windows(facts: Facts, policy: GovernorSettings) -> Objection | None:
    if not policy.windows or any(_inside(window, facts) for window in policy.windows):
        return None
    return Objection(rung=Rung.VACATE, signal="windows", said=OUTSIDE_HOURS())


def _inside(window: TimeWindow, facts: Facts) -> bool:
    """Whether the sample lies in the window; one over midnight belongs to the day on which it began."""
    start, end = _minutes(window.start), _minutes(window.end)
    today, yesterday = _DAYS[facts.weekday], _DAYS[facts.weekday - 1]
    if start <= end:
        return today in window.days and start <= facts.minute <= end
    return (today in window.days and facts.minute >= start) or (
        yesterday in window.days and facts.minute <= end
    )


def _minutes(clock: str) -> int:
    hours, _, minutes = clock.partition(":")
    return int(hours) * 60 + int(minutes)


def _cpu(facts: Facts, policy: GovernorSettings, *, leave: bool) -> Objection | None:
    used = facts.cpu_others_ratio
    if used is None:
        return Objection(
            rung=Rung.PAUSE,
            signal="cpu",
            said=CPU_NOT_KNOWN(),
            repeats=policy.cpu_samples,
        )
    ratio = policy.cpu_leave_ratio if leave else policy.cpu_enter_ratio
    threshold = max(ratio, min(1.0, _HALF_A_CORE / facts.cpu_count))
    if used <= threshold:
        return None
    return Objection(
        rung=Rung.PAUSE,
        signal="cpu",
        said=CPU_BUSY(used=used, threshold=threshold),
        value=round(used, 3),
        threshold=threshold,
        repeats=policy.cpu_samples,
    )


def lasts_until(
    standing: Standing,
    policy: GovernorSettings,
    now: Instant,
    *,
    pause: ManualPause | None,
    facts: Facts | None,
) -> float | None:
    """When the verdict will change by itself, by the wall clock; None where nobody can know."""
    match standing.objection.signal if standing.objection else "":
        case "pause":
            return pause.until if pause else None
        case "windows":
            opens = opens_in_minutes(policy.windows, facts) if facts else None
            return None if opens is None else now.wall - now.wall % 60 + opens * 60
        case "resume-after" if standing.clear_since is not None:
            return now.wall + policy.resume_after_s - (now.monotonic - standing.clear_since)
        case _:
            return None


def opens_in_minutes(windows: Sequence[TimeWindow], facts: Facts) -> int | None:
    """How long until the next hours in which training is allowed begin; None where they never do."""
    return min(
        (
            later
            for window in windows
            for ahead in range(len(_DAYS) + 1)
            if _DAYS[(facts.weekday + ahead) % len(_DAYS)] in window.days
            and (later := ahead * _DAY_MINUTES + _minutes(window.start) - facts.minute) > 0
        ),
        default=None,
    )
