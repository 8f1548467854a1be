# SPDX-License-Identifier: Apache-2.0
"""A site's days as scripts: what happens, and all that the daemon does about it."""

import msgspec

from fedagent.core import agent
from fedagent.core import commands as do
from fedagent.core import events as on
from fedagent.core.governor import ManualPause
from fedagent.core.round import Phase
from fedagent.core.state import AgentState, Stage
from fedagent.wire import messages as m
from tests.fakes import scenes
from tests.fakes.scenes import NAME, STUDY, UPDATE, Step, announcement, at, heard, named, play, sampled

HELLO = heard(m.AggregatorHello(version="0.1.0", protocol=1, studies=(m.OpenStudy(study=NAME, round=1),)))
ANNOUNCED = ["strike heart-1/join", "strike heart-1/offer", "strike heart-1/decline", "drop blobs"]
JOINED = ["strike heart-1/decline", "post heart-1/join"]
GREETINGS = ["send presence", "send instance", "send hello", "repeat outbox"]
BUSY = {"cpu_others_ratio": 0.9}


def idle_until(seconds: int) -> list[Step]:
    return [(float(second), sampled(second)) for second in range(0, seconds + 1, 5)]


def test_the_first_round_of_a_new_site() -> None:
    state, _ = play(scenes.site(), [on.ApprovalsRead(approvals={}), on.Connected()], expect=GREETINGS)
    state, _ = play(
        state, [HELLO, heard(announcement())], expect=["follow study heart-1", *ANNOUNCED, "send progress"]
    )
    state, _ = play(state, idle_until(10), expect=["send presence"])
    state, _ = play(state, [(11, scenes.approvals(STUDY))], expect=["start trainer"])
    state, _ = play(state, [(12, scenes.came())], expect=JOINED)
    state, _ = play(state, [(12, scenes.model_key())], expect=["strike heart-1/join", "fetch heart-1"])
    state, _ = play(state, [(13, scenes.fetched())], expect=["give heart-1"])
    state, _ = play(state, [(14, scenes.progressed())], expect=["send progress"])
    state, _ = play(state, [(20, scenes.spooled())], expect=["post heart-1/offer", "drop blobs"])
    state, _ = play(state, [(21, scenes.grant())], expect=["grant heart-1"])
    state, _ = play(state, [(22, scenes.receipt())], expect=["strike heart-1/offer", "drop blobs"])
    assert state.studies[NAME].phase is Phase.DELIVERED
    play(state, [(30, heard(announcement(2)))], expect=[*ANNOUNCED, *JOINED])


def test_a_ward_round_interrupts_the_training() -> None:
    busy: list[Step] = [(1 + second / 10, sampled(1 + second / 10, **BUSY)) for second in range(20)]
    quiet: list[Step] = [(3 + second, sampled(3 + second)) for second in range(11)]
    state, done = play(scenes.training(), [*busy, *quiet], expect=["freeze", "thaw"])
    assert state.trainer.stage is Stage.BUSY
    assert scenes.told(done) == [
        "training paused: others use 90% of the CPU, above 25%",
        "no training: others use 90% of the CPU, above 25%",
        "training goes on",
        "training is allowed",
    ]
    assert state.record.yields == 1


def test_a_short_peak_does_not_interrupt_it() -> None:
    script: list[Step] = [(1, sampled(1, **BUSY)), (1.1, sampled(1.1)), (1.2, sampled(1.2, **BUSY))]
    play(scenes.training(), script, expect=[])


def test_a_night_of_training_ends_with_its_hours() -> None:
    policy = msgspec.convert(
        {"resume_after_s": 10.0, "windows": [{"days": ["mon"], "from": "20:00", "until": "06:00"}]},
        type(scenes.POLICY),
    )
    state = msgspec.structs.replace(scenes.training(), policy=policy)
    tuesday = {"weekday": 1}
    script: list[Step] = [
        (1, sampled(1, minute=23 * 60 + 59)),
        (2, sampled(2, minute=6 * 60, **tuesday)),
        (3, sampled(3, minute=6 * 60 + 1, **tuesday)),
        (4, scenes.CHECKPOINTED),
    ]
    state, _ = play(state, script, expect=["ask checkpoint", "close trainer"])
    assert state.studies[NAME].phase is Phase.READY
    assert state.standing.said.text == "outside the hours in which training is allowed"


def test_a_site_without_memory_gives_its_own_back_and_goes_on_later() -> None:
    short: list[Step] = [(1, sampled(1, memory_available_mib=500)), (1.5, scenes.CHECKPOINTED)]
    state, _ = play(scenes.training(), short, expect=["ask checkpoint", "close trainer"])
    later: list[Step] = [(20, sampled(20)), (30, sampled(30)), (31, scenes.came())]
    state, _ = play(state, later, expect=["start trainer", "give heart-1"])
    assert state.trainer.stage is Stage.BUSY


def test_a_pause_over_a_whole_round() -> None:
    pause = on.PauseAsked(pause=ManualPause(by="anna", reason="MRI", until=at(100).wall))
    state, _ = play(scenes.training(), [(1, pause), (50, sampled(50))], expect=["freeze"])
    refusal = heard(
        m.Refusal(study=NAME, round=1, reason=m.Reason.ROUND_CLOSED, text="closed at its deadline")
    )
    state, _ = play(state, [(60, refusal)], expect=[*ANNOUNCED, "stop heart-1", "thaw"])
    assert state.standing.said.text == "paused by anna: MRI"
    state, _ = play(state, [(61, heard(announcement(2)))], expect=[*ANNOUNCED, *JOINED])
    state, _ = play(
        state,
        [(62, scenes.model_key(2)), (63, scenes.fetched(2)), (99, sampled(99))],
        expect=["strike heart-1/join", "fetch heart-1"],
    )
    play(state, [(100, sampled(100)), (109, sampled(109)), (110, sampled(110))], expect=["give heart-1"])


def test_a_broker_that_lost_everything_costs_one_exchange() -> None:
    state, _ = play(scenes.sending(), [on.Connected(), (5, scenes.OFFLINE)])
    again = ["follow study heart-1", *GREETINGS]
    state, _ = play(state, [(9, on.Connected())], expect=again)
    state, _ = play(state, [(9, heard(announcement())), (9, scenes.grant())], expect=["grant heart-1"])
    state, _ = play(state, [(10, scenes.receipt())], expect=["strike heart-1/offer", "drop blobs"])
    play(state, [(10, scenes.receipt())], expect=[])


def restarted(state: AgentState, *blobs: bytes) -> AgentState:
    fresh = scenes.site(studies=state.studies, record=state.record)
    return agent.resumed(fresh, blobs, at(100))


def test_a_power_cut_during_training_costs_what_the_checkpoint_lacks() -> None:
    state = restarted(scenes.training(), scenes.blob_of(1))
    script: list[Step] = [(100, scenes.approvals(STUDY)), (100, on.Connected())]
    state, _ = play(state, script, expect=["follow study heart-1", *GREETINGS])
    state, _ = play(
        state, [(100, sampled(100)), (110, sampled(110))], expect=["start trainer", "send presence"]
    )
    play(state, [(111, scenes.came())], expect=["give heart-1"])


def test_a_power_cut_while_the_update_is_sent_costs_nothing() -> None:
    state = restarted(scenes.sending(), scenes.blob_of(1), UPDATE)
    state, _ = play(state, [(100, scenes.approvals(STUDY)), (100, on.Connected())])
    play(state, [(101, scenes.grant())], expect=["grant heart-1"])


def test_a_disk_that_was_replaced_trains_the_round_anew() -> None:
    state = restarted(scenes.sending())
    state, _ = play(
        state,
        [(100, scenes.approvals(STUDY)), (100, on.Connected())],
        expect=["follow study heart-1", *GREETINGS, "fetch heart-1"],
    )
    state, _ = play(state, [(101, scenes.grant())], expect=[])
    assert state.studies[NAME].phase is Phase.FETCHING


def test_a_study_that_is_revoked_in_the_middle_leaves_nothing_running() -> None:
    lung = named("lung-1")
    state, _ = play(scenes.training(), [heard(announcement(1, lung)), scenes.approvals(STUDY, lung)])
    state, done = play(state, [scenes.approvals(lung)])
    assert do.StopJob(study=NAME, erase=True) in done
    assert state.trainer.stage is Stage.IDLE
    assert [study.phase for study in state.studies.values()] == [Phase.UNAPPROVED, Phase.JOINING]


def test_a_job_that_kills_every_trainer_does_not_stop_the_other_study() -> None:
    lung = named("lung-1")
    state, _ = play(scenes.ready(), [(1, heard(announcement(1, lung))), (1, scenes.approvals(STUDY, lung))])
    state, _ = play(state, [(1, scenes.model_key(1, lung)), (2, scenes.fetched(1, lung))])
    state = msgspec.structs.replace(state, standing=scenes.GO)
    given: list[str] = []
    now = 3.0
    for _ in range(12):
        now = max(now + 1, state.trainer.retry_at - at(0).monotonic)
        script: list[Step] = [(now, sampled(now)), (now, scenes.came())]
        if state.trainer.study is not None:
            script = [(now, scenes.LOST if state.trainer.study == NAME else scenes.spooled(1, "lung-1"))]
        state, done = play(state, script)
        given += [each.job.study for each in scenes.only(do.GiveJob, done)]
    assert given.count(NAME) == 3
    assert given.count("lung-1") == 1
    assert {name: study.phase for name, study in state.studies.items()} == {
        NAME: Phase.DECLINED,
        "lung-1": Phase.SPOOLED,
    }
