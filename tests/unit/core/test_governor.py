# SPDX-License-Identifier: Apache-2.0
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedagent.conditions.site import CPU_BUSY, MEMORY_SHORT
from fedagent.core.facts import Facts
from fedagent.core.governor import (
    ManualPause,
    Objection,
    Rung,
    Standing,
    judge,
    lasts_until,
    opens_in_minutes,
    settle,
)
from fedagent.core.settings import GovernorSettings, TimeWindow
from tests.fakes.scenes import FULL, GO, NO, at, facts

POLICY = GovernorSettings()
MORNING, NIGHT = 6 * 60, 23 * 60


def judged(
    seen: Facts | None,
    policy: GovernorSettings = POLICY,
    *,
    seconds: float = 0.0,
    pause: ManualPause | None = None,
    current: Standing = NO,
) -> Objection | None:
    return judge(seen, policy, at(seconds), pause=pause, current=current)


# --- one line of judge, one row -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "signal", "rung", "text"),
    [
        pytest.param({}, None, None, None, id="idle"),
        pytest.param({"memory_available_mib": 1024}, None, None, None, id="just enough memory"),
        pytest.param(
            {"memory_available_mib": 1023},
            "memory",
            Rung.VACATE,
            "1023 MiB memory available, 1024 MiB must stay free",
            id="memory short",
        ),
        pytest.param(
            {"memory_available_mib": None},
            "memory",
            Rung.PAUSE,
            "available memory cannot be read; look at /proc/meminfo",
            id="memory unreadable",
        ),
        pytest.param({"disk_free_mib": 512}, None, None, None, id="just enough disk"),
        pytest.param(
            {"disk_free_mib": 511},
            "disk",
            Rung.PAUSE,
            "511 MiB free on the disk, 512 MiB must stay free; free space there",
            id="disk short",
        ),
        pytest.param(
            {"disk_free_mib": None},
            "disk",
            Rung.PAUSE,
            "the room on the disk cannot be read; look at the disk below the state folder",
            id="disk unreadable",
        ),
        pytest.param({"cpu_others_ratio": 0.15}, None, None, None, id="CPU at the threshold to enter"),
        pytest.param(
            {"cpu_others_ratio": 0.16},
            "cpu",
            Rung.PAUSE,
            "others use 16% of the CPU, above 15%",
            id="CPU above it",
        ),
        pytest.param(
            {"cpu_others_ratio": None},
            "cpu",
            Rung.PAUSE,
            "the use of the CPU cannot be read; look at /proc/stat",
            id="CPU unreadable",
        ),
        pytest.param(
            {"cpu_others_ratio": 0.9, "memory_available_mib": 0},
            "memory",
            Rung.VACATE,
            "0 MiB memory available, 1024 MiB must stay free",
            id="the first objection wins",
        ),
    ],
)
def test_the_machine_is_judged(
    changes: dict[str, object], signal: str | None, rung: Rung | None, text: str | None
) -> None:
    found = judged(facts(**changes))
    assert (found and found.signal, found and found.rung, found and found.said.text) == (signal, rung, text)


@pytest.mark.parametrize(
    ("used", "current", "objects"),
    [
        pytest.param(0.20, NO, True, id="20 % keeps out"),
        pytest.param(0.20, GO, False, id="20 % does not drive away"),
        pytest.param(0.25, GO, False, id="the threshold itself does not"),
        pytest.param(0.251, GO, True, id="above it does"),
    ],
)
def test_leaving_and_entering_have_thresholds_of_their_own(
    used: float, current: Standing, objects: bool
) -> None:
    assert (judged(facts(cpu_others_ratio=used), current=current) is not None) is objects


@pytest.mark.parametrize(
    ("cpus", "used", "objects"),
    [
        pytest.param(1, 0.5, False, id="half of the only core"),
        pytest.param(1, 0.51, True, id="more than half of it"),
        pytest.param(2, 0.25, False, id="half a core of two"),
        pytest.param(2, 0.26, True, id="more than half a core of two"),
        pytest.param(4, 0.15, False, id="of four cores the ratio counts"),
        pytest.param(4, 0.16, True, id="above the ratio of four cores"),
    ],
)
def test_less_than_half_a_core_is_no_busy_machine(cpus: int, used: float, objects: bool) -> None:
    assert (judged(facts(cpu_count=cpus, cpu_others_ratio=used)) is not None) is objects


def test_an_objection_names_value_and_threshold() -> None:
    cpu = judged(facts(cpu_others_ratio=0.1618))
    memory = judged(facts(memory_available_mib=100))
    assert cpu is not None
    assert memory is not None
    assert (cpu.value, cpu.threshold, cpu.repeats) == (0.162, 0.15, 2)
    assert (memory.value, memory.threshold, memory.repeats) == (100.0, 1024.0, 1)


# --- not knowing means no -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "objects"),
    [
        pytest.param(None, True, id="never looked"),
        pytest.param(facts(0), False, id="as old as allowed"),
        pytest.param(facts(-0.1), True, id="older"),
    ],
)
def test_what_was_seen_expires(seen: Facts | None, objects: bool) -> None:
    found = judged(seen, seconds=POLICY.facts_expire_s)
    assert (found is not None) is objects
    if found is not None:
        assert (found.signal, found.said.text) == ("facts", "the state of the machine is not known")


# --- fedagent pause -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pause", "text"),
    [
        pytest.param(ManualPause(by="anna"), "paused by anna", id="until resumed"),
        pytest.param(ManualPause(by="anna", reason="MRI"), "paused by anna: MRI", id="with a reason"),
        pytest.param(ManualPause(by="anna", until=at(1).wall), "paused by anna", id="until later"),
        pytest.param(ManualPause(by="anna", until=at(0).wall), None, id="until now"),
        pytest.param(None, None, id="no pause"),
    ],
)
def test_a_pause_holds_until_its_end(pause: ManualPause | None, text: str | None) -> None:
    found = judged(facts(), pause=pause)
    assert (found and found.said.text) == text


def test_a_pause_is_named_even_where_nothing_is_known() -> None:
    found = judged(None, pause=ManualPause(by="anna"))
    assert found is not None
    assert found.signal == "pause"


# --- hours ----------------------------------------------------------------------------------------------------------

NIGHTS = TimeWindow(days=("mon", "fri"), start="20:00", end="06:00")


@pytest.mark.parametrize(
    ("windows", "weekday", "minute", "inside"),
    [
        pytest.param((), 3, 0, True, id="no window means always"),
        pytest.param((TimeWindow(),), 6, 24 * 60 - 1, True, id="a whole week"),
        pytest.param((TimeWindow(start="08:00", end="09:30"),), 0, 8 * 60 - 1, False, id="before"),
        pytest.param((TimeWindow(start="08:00", end="09:30"),), 0, 8 * 60, True, id="its first minute"),
        pytest.param((TimeWindow(start="08:00", end="09:30"),), 0, 9 * 60 + 30, True, id="its last minute"),
        pytest.param((TimeWindow(start="08:00", end="09:30"),), 0, 9 * 60 + 31, False, id="after"),
        pytest.param((TimeWindow(days=("sun",)),), 0, 0, False, id="another day"),
        pytest.param((TimeWindow(days=("sun",)), TimeWindow(days=("mon",))), 0, 0, True, id="the second window"),
        pytest.param((TimeWindow(days=()),), 0, 0, False, id="a window without a day"),
        pytest.param((NIGHTS,), 0, 20 * 60 - 1, False, id="before Monday night"),
        pytest.param((NIGHTS,), 0, 20 * 60, True, id="Monday night begins"),
        pytest.param((NIGHTS,), 1, MORNING, True, id="Tuesday morning belongs to Monday's night"),
        pytest.param((NIGHTS,), 1, MORNING + 1, False, id="and ends"),
        pytest.param((NIGHTS,), 1, NIGHT, False, id="Tuesday night is not listed"),
        pytest.param((NIGHTS,), 0, MORNING, False, id="Monday morning belongs to Sunday"),
        pytest.param((NIGHTS,), 5, 0, True, id="midnight after Friday"),
        pytest.param((TimeWindow(days=("sun",), start="22:00", end="04:00"),), 0, 60, True, id="over the week's end"),
        pytest.param((TimeWindow(start="12:00", end="12:00"),), 0, 720, True, id="one minute"),
    ],
)  # fmt: skip
def test_training_keeps_to_its_hours(
    windows: tuple[TimeWindow, ...], weekday: int, minute: int, inside: bool
) -> None:
    found = judged(facts(weekday=weekday, minute=minute), GovernorSettings(windows=windows))
    assert (found is None) is inside
    if found is not None:
        assert (found.signal, found.rung) == ("windows", Rung.VACATE)
        assert found.said.text == "outside the hours in which training is allowed"


# --- the verdict ----------------------------------------------------------------------------------------------------

CPU = Objection(rung=Rung.PAUSE, signal="cpu", said=CPU_BUSY(used=0.9, threshold=0.25), repeats=2)
MEMORY = Objection(rung=Rung.VACATE, signal="memory", said=MEMORY_SHORT(available_mib=10, needed_mib=1024))
SLOW = GovernorSettings(resume_after_s=10.0)


def settled(
    standing: Standing, *looks: tuple[float, Objection | None], policy: GovernorSettings = SLOW
) -> Standing:
    for seconds, objection in looks:
        standing = settle(standing, objection, policy, at(seconds))
    return standing


def test_one_busy_sample_does_not_pause_training() -> None:
    standing = settled(GO, (1, CPU))
    assert (standing.go, standing.strikes, standing.since) == (True, 1, GO.since)


def test_two_busy_samples_in_a_row_pause_training() -> None:
    standing = settled(GO, (1, CPU), (2, CPU))
    assert standing == Standing(go=False, objection=CPU, since=at(2).wall)
    assert standing.said == CPU.said


def test_an_idle_sample_between_two_busy_ones_forgives_the_first() -> None:
    assert settled(GO, (1, CPU), (2, None), (3, CPU)).strikes == 1


def test_missing_memory_pauses_training_at_the_first_sample() -> None:
    assert settled(GO, (1, MEMORY)) == Standing(go=False, objection=MEMORY, since=at(1).wall)


def test_another_objection_gives_another_reason_but_no_other_beginning() -> None:
    assert settled(NO, (1, MEMORY)) == Standing(go=False, objection=MEMORY, since=NO.since)


def test_training_returns_only_after_a_quiet_time() -> None:
    waiting = settled(NO, (1, None))
    assert waiting.objection is not None
    assert (waiting.go, waiting.clear_since, waiting.since) == (False, at(1).monotonic, NO.since)
    assert waiting.said.text == "idle, waiting 10 s before training"
    nearly = settled(waiting, (10.9, None))
    assert nearly.objection is not None
    assert (nearly.go, nearly.objection.value, nearly.objection.threshold) == (False, 9.9, 10.0)
    assert settled(nearly, (11, None)) == Standing(go=True, objection=None, since=at(11).wall)


def test_the_quiet_time_begins_anew_when_someone_comes() -> None:
    standing = settled(NO, (1, None), (6, CPU), (7, None), (12, None))
    assert (standing.go, standing.clear_since) == (False, at(7).monotonic)


def test_no_quiet_time_means_at_once() -> None:
    assert settled(NO, (1, None), policy=GovernorSettings(resume_after_s=0.0)).go


@pytest.mark.parametrize(
    ("standing", "text"),
    [
        pytest.param(GO, "training is allowed", id="go"),
        pytest.param(FULL, "no memory", id="no"),
        pytest.param(msgspec.structs.replace(NO, objection=None), "settling", id="not judged yet"),
    ],
)
def test_a_verdict_has_words(standing: Standing, text: str) -> None:
    assert standing.said.text == text


OBJECTIONS = st.sampled_from([None, CPU, MEMORY, msgspec.structs.replace(CPU, repeats=5)])


@given(st.lists(st.tuples(st.floats(0.0, 30.0), OBJECTIONS), max_size=40))
def test_the_verdict_is_no_only_with_a_reason_and_go_only_after_the_quiet_time(
    looks: list[tuple[float, Objection | None]],
) -> None:
    standing, now, objected = NO, 0.0, 0.0
    for wait, objection in looks:
        now += wait
        before, standing = standing, settle(standing, objection, SLOW, at(now))
        if objection is not None:
            objected = now
        if not standing.go:
            assert standing.objection is not None
            assert standing.objection.said.text
        elif not before.go:
            assert now - objected >= SLOW.resume_after_s - 1e-6  # the clock's own rounding


# --- until when -----------------------------------------------------------------------------------------------------

PAUSED = judged(facts(), pause=ManualPause(by="anna", until=at(60).wall))
OPENS_AT_SIX = GovernorSettings(windows=(TimeWindow(start="18:00", end="23:00"),), resume_after_s=10.0)
CLOSED = judged(facts(), OPENS_AT_SIX)


def against(objection: Objection | None) -> Standing:
    return Standing(go=objection is None, objection=objection, since=at(0).wall)


@pytest.mark.parametrize(
    ("standing", "until"),
    [
        pytest.param(GO, None, id="go"),
        pytest.param(against(MEMORY), None, id="nobody knows when memory is free"),
        pytest.param(against(PAUSED), at(60).wall, id="paused for a time"),
        pytest.param(against(CLOSED), at(0).wall - at(0).wall % 60 + 6 * 3600, id="outside the hours"),
        pytest.param(settled(NO, (1, None)), at(11).wall, id="the quiet time"),
        pytest.param(against(settled(NO, (1, None)).objection), None, id="a quiet time that has not begun"),
    ],
)
def test_it_is_said_until_when_a_verdict_lasts_where_that_is_known(
    standing: Standing, until: float | None
) -> None:
    pause = ManualPause(by="anna", until=at(60).wall)
    assert lasts_until(standing, OPENS_AT_SIX, at(0), pause=pause, facts=facts()) == until


def test_nobody_knows_how_long_where_the_pause_or_the_facts_are_gone() -> None:
    for standing in (against(PAUSED), against(CLOSED)):
        assert lasts_until(standing, OPENS_AT_SIX, at(0), pause=None, facts=None) is None


def test_hours_that_never_come_are_no_time_to_wait_for() -> None:
    never = GovernorSettings(windows=(TimeWindow(days=(), start="18:00"),))
    assert lasts_until(against(CLOSED), never, at(0), pause=None, facts=facts()) is None


@pytest.mark.parametrize(
    ("windows", "minutes"),
    [
        pytest.param((), None, id="none"),
        pytest.param((TimeWindow(start="13:00"),), 60, id="later today"),
        pytest.param((TimeWindow(start="11:00"),), 23 * 60, id="tomorrow: today's is over"),
        pytest.param((TimeWindow(days=("mon",), start="11:00"),), 7 * 1440 - 60, id="in a week"),
        pytest.param((TimeWindow(days=("sun",), start="00:00"), TimeWindow(days=("wed",), start="12:00")), 2 * 1440, id="the first"),
    ],
)  # fmt: skip
def test_the_hours_open_again_in(windows: tuple[TimeWindow, ...], minutes: int | None) -> None:
    assert opens_in_minutes(windows, facts()) == minutes
