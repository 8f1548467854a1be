# SPDX-License-Identifier: Apache-2.0
"""What holds after any sequence of events, lawful or not: the promises of the site daemon."""

from collections.abc import Callable

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fedagent.conditions.table import TABLE
from fedagent.core import agent
from fedagent.core import commands as do
from fedagent.core import events as on
from fedagent.core.governor import ManualPause, Rung
from fedagent.core.occupancy import CHECKPOINT_GRACE_S, START_LIMIT_S
from fedagent.core.round import Phase
from fedagent.core.state import AgentState, Stage
from fedagent.wire import messages as m
from fedagent.wire.manifest import Manifest, blob_digest
from tests.fakes import scenes
from tests.fakes.scenes import STUDY, at, blob_of, named

STUDIES = {study.name: study for study in (STUDY, named("lung-1"))}
NAMES = st.sampled_from(sorted(STUDIES))
ROUNDS = st.integers(1, 4)
REASONS = st.sampled_from(m.Reason)
RUNNING = {Stage.BUSY, Stage.FROZEN, Stage.VACATING}
WAITS = st.sampled_from([0.0, 0.1, 0.5, 1.0, 2.5, 11.0, 70.0, 700.0])
KEYS = st.sampled_from([scenes.KEY, b"\x08" + bytes(31)])


class Site(RuleBasedStateMachine):
    """Any event at any time, and what the shell would make of the commands."""

    def __init__(self) -> None:
        super().__init__()
        self.state: AgentState = scenes.site()
        self.now = 0.0
        self.alive = False
        """A trainer that was started and neither closed nor lost."""
        self.frozen = False
        self.updates: dict[str, bytes] = {}
        """By study: what was spooled and not answered."""
        self.sealed = 0

    @initialize(
        begin=st.sampled_from([scenes.site, scenes.ready, scenes.training, scenes.sending]), go=st.booleans()
    )
    def begins(self, begin: Callable[[], AgentState], go: bool) -> None:
        self.state = begin()
        self.alive = self.state.trainer.stage is not Stage.ABSENT
        self.updates = {name: study.update for name, study in self.state.studies.items() if study.update}
        if go or self.state.trainer.stage is Stage.BUSY:
            self.state = msgspec.structs.replace(self.state, standing=scenes.GO)

    # --- what happens ---------------------------------------------------------------------------------------------

    @rule(wait=WAITS)
    def time_passes(self, wait: float) -> None:
        self.now += wait
        self.happens(on.Woke())

    @rule(
        used=st.sampled_from([0.0, 0.2, 0.9, None]),
        memory=st.sampled_from([8192, 8192, 8192, 10, None]),
        wait=WAITS,
    )
    def the_machine_is_looked_at(self, used: float | None, memory: int | None, wait: float) -> None:
        self.now += wait
        self.happens(scenes.sampled(self.now, cpu_others_ratio=used, memory_available_mib=memory))

    @rule()
    def the_machine_is_idle(self) -> None:
        for _ in range(2):
            self.now += scenes.POLICY.resume_after_s
            self.happens(scenes.sampled(self.now))

    @rule(up=st.booleans())
    def the_broker_comes_or_goes(self, up: bool) -> None:
        self.happens(on.Connected() if up else scenes.OFFLINE)

    @rule(which=st.sets(NAMES), rounds=st.sampled_from([None, 1]))
    def root_approves(self, which: set[str], rounds: int | None) -> None:
        self.happens(scenes.approvals(*(STUDIES[name] for name in which), rounds=rounds))

    @rule(name=NAMES, number=ROUNDS, kind=st.sampled_from(m.RoundKind))
    def a_round_opens(self, name: str, number: int, kind: m.RoundKind) -> None:
        self.happens(scenes.heard(scenes.announcement(number, STUDIES[name], round_kind=kind)))

    @rule(name=NAMES, number=ROUNDS)
    def a_key_comes(self, name: str, number: int) -> None:
        self.happens(scenes.model_key(number, STUDIES[name]))

    @rule(name=NAMES, number=ROUNDS)
    def a_model_comes(self, name: str, number: int) -> None:
        self.happens(scenes.fetched(number, STUDIES[name]))

    @rule(name=NAMES, later=st.integers(0, 1))
    def a_round_is_made_ready(self, name: str, later: int) -> None:
        """The way there, so that the rest does not depend on luck."""
        study = STUDIES[name]
        self.happens(scenes.approvals(*STUDIES.values()))
        number = self.state.studies[name].round + later if name in self.state.studies else 1
        for event in (
            scenes.heard(scenes.announcement(number, study)),
            scenes.model_key(number, study),
            scenes.fetched(number, study),
        ):
            self.happens(event)

    @rule(name=NAMES, number=ROUNDS, ours=st.booleans(), reason=REASONS, cancel=st.booleans())
    def the_aggregator_answers(
        self, name: str, number: int, ours: bool, reason: m.Reason, cancel: bool
    ) -> None:
        update = self.state.studies[name].update if ours and name in self.state.studies else b""
        self.happens(scenes.heard(m.Receipt(study=name, round=number, blob=update or bytes(32))))
        kind = m.Cancel if cancel else m.Refusal
        if not ours:
            self.happens(scenes.heard(kind(study=name, round=number, reason=reason)))

    @rule(name=NAMES, number=ROUNDS)
    def chunks_are_granted(self, name: str, number: int) -> None:
        update = self.state.studies[name].update if name in self.state.studies else b""
        message = m.Grant(study=name, round=number, blob=update or bytes(32), chunks=(0,), stored=0)
        self.happens(scenes.heard(message))

    @rule(key=KEYS)
    def the_trainer_comes(self, key: bytes) -> None:
        self.happens(scenes.came(key))

    @rule()
    def the_trainer_is_lost(self) -> None:
        self.alive = self.frozen = False
        self.happens(scenes.LOST)

    @rule(
        name=NAMES,
        number=ROUNDS,
        say=st.sampled_from([scenes.failed, scenes.refused, scenes.progressed, None]),
    )
    def the_trainer_speaks(self, name: str, number: int, say: object) -> None:
        self.happens(say(number, name) if callable(say) else scenes.CHECKPOINTED)

    @rule(name=NAMES, number=ROUNDS, ours=st.booleans())
    def an_update_is_spooled(self, name: str, number: int, ours: bool) -> None:
        study = self.state.studies.get(self.state.trainer.study or "")
        if ours and study is not None:
            name, number = study.name, study.round
        self.sealed += 1
        chunk = self.sealed.to_bytes(32, "big")
        self.happens(
            scenes.spooled(number, name, Manifest(size_bytes=100, chunk_bytes=262_144, chunks=(chunk,)))
        )

    @rule(until=st.sampled_from([None, 5.0]))
    def someone_pauses(self, until: float | None) -> None:
        ends = at(self.now + until).wall if until is not None else None
        self.happens(on.PauseAsked(pause=ManualPause(by="anna", until=ends)))

    @rule()
    def someone_resumes(self) -> None:
        self.happens(on.ResumeAsked())

    @rule(memory=st.sampled_from([0, 1024, 100_000]))
    def the_settings_change(self, memory: int) -> None:
        self.happens(
            on.PolicyChanged(policy=msgspec.structs.replace(scenes.POLICY, memory_available_mib=memory))
        )

    @rule(observe=st.booleans(), lost=st.booleans())
    def the_daemon_restarts(self, observe: bool, lost: bool) -> None:
        self.alive = self.frozen = False
        models = {study.announcement.model.blob for study in self.state.studies.values()}
        blobs: set[bytes] = set() if lost else models | set(self.updates.values())
        fresh = scenes.site(observe=observe, studies=self.state.studies, record=self.state.record)
        self.state = agent.resumed(fresh, blobs, at(self.now))
        if lost:
            self.updates.clear()

    @rule()
    def the_daemon_is_to_end(self) -> None:
        before = self.state
        self.happens(on.StopAsked())
        self.now += CHECKPOINT_GRACE_S + 0.1
        ended = self.happens(on.Woke())
        assert isinstance(ended[-1], do.Exit)
        stopped = {"stopping": False, "trainer": self.state.trainer, "studies": self.state.studies}
        self.state = msgspec.structs.replace(before, record=self.state.record, **stopped)

    # --- what the shell would make of it ---------------------------------------------------------------------------

    def happens(self, event: agent.AnyEvent) -> list[do.Command]:
        before = self.state
        self.state, done = agent.step(before, event, at(self.now))
        self.note_updates(before, event)
        for command in done:
            self.perform(command)
        return done

    def note_updates(self, before: AgentState, event: agent.AnyEvent) -> None:
        """An update leaves the books only by an answer to it, or by a newer round."""
        for name, study in self.state.studies.items():
            if study.update and isinstance(event, on.UpdateSpooled) and event.sealed.study == name:
                if before.studies[name].update == study.update:
                    continue
                assert study.update == blob_digest(event.manifest)
                self.updates[name] = study.update
            elif name in self.updates and not study.update:
                assert isinstance(event, on.MessageArrived)
                message = event.message
                assert isinstance(message, m.Receipt | m.Refusal | m.Cancel | m.Announcement)
                assert message.round >= before.studies[name].round
                del self.updates[name]

    def perform(self, command: do.Command) -> None:
        go = self.state.standing.go
        match command:
            case do.StartTrainer():
                assert go
                assert not self.alive
                self.alive = True
            case do.CloseTrainer():
                self.alive = self.frozen = False
            case do.GiveJob(job=job):
                assert go
                assert self.alive
                assert not self.frozen
                assert not self.state.observe
                assert job.study in self.state.approvals
                assert job.model_key
                assert self.state.studies[job.study].trainer_key == self.state.record.trainer_key
            case do.Freeze():
                assert not go
                assert self.alive
                self.frozen = True
            case do.Thaw():
                assert self.frozen
                assert go or self.state.trainer.stage is Stage.IDLE  # without a job there is nothing to run
                self.frozen = False
            case _:
                self.perform_other(command)

    def perform_other(self, command: do.Command) -> None:
        match command:
            case do.DropBlobs(keep=keep):
                assert keep >= set(self.updates.values())
                assert keep >= {
                    blob_of(study.round, study.announcement.study)
                    for study in self.state.studies.values()
                    if study.phase not in {Phase.ENDED, Phase.SPOOLED, Phase.DELIVERED, Phase.DECLINED}
                }
            case do.Exit():
                assert self.state.stopping
                assert not self.alive
            case do.Tell(said=said):
                assert said.code in TABLE
            case _:
                pass

    # --- what always holds ------------------------------------------------------------------------------------------

    @invariant()
    def every_no_has_its_reason(self) -> None:
        standing = self.state.standing
        assert standing.go or (standing.objection is not None and standing.objection.said.text)

    @invariant()
    def the_trainer_is_as_the_core_thinks(self) -> None:
        assert self.alive is (self.state.trainer.stage is not Stage.ABSENT)
        assert self.frozen is (self.state.trainer.stage is Stage.FROZEN)

    @invariant()
    def one_study_trains_in_one_trainer(self) -> None:
        training = [name for name, study in self.state.studies.items() if study.phase is Phase.TRAINING]
        trainer = self.state.trainer
        assert training == ([trainer.study] if trainer.stage in RUNNING else [])

    @invariant()
    def no_stage_lasts_for_ever(self) -> None:
        trainer, standing = self.state.trainer, self.state.standing
        lasted = at(self.now).monotonic - trainer.since
        if trainer.stage is Stage.BUSY:
            assert standing.go
        if trainer.stage is Stage.VACATING:
            assert lasted <= CHECKPOINT_GRACE_S
        if trainer.stage is Stage.STARTING:
            assert lasted <= START_LIMIT_S
        if trainer.stage is Stage.FROZEN:
            assert lasted <= self.state.policy.pause_limit_s
        against = standing.objection
        if against is not None and not standing.go and against.rung is Rung.VACATE:
            assert trainer.stage in {Stage.ABSENT, Stage.VACATING, Stage.IDLE}

    @invariant()
    def an_update_is_in_the_books_until_it_is_answered(self) -> None:
        held = {name: study.update for name, study in self.state.studies.items() if study.update}
        assert held == self.updates
        for study in self.state.studies.values():
            assert (study.offer is not None) is bool(study.update) is (study.phase is Phase.SPOOLED)


class Forward(RuleBasedStateMachine):
    """A round only moves forward, whatever is announced."""

    def __init__(self) -> None:
        super().__init__()
        self.state = scenes.joined()

    @rule(number=st.integers(1, 5), kind=st.sampled_from(m.RoundKind))
    def announced(self, number: int, kind: m.RoundKind) -> None:
        before = self.state.studies[STUDY.name]
        self.state, _ = scenes.play(self.state, [scenes.heard(scenes.announcement(number, round_kind=kind))])
        assert self.state.studies[STUDY.name].round == max(before.round, number)


TestSite = Site.TestCase
TestSite.settings = settings(max_examples=150, stateful_step_count=40)
TestForward = Forward.TestCase
TestForward.settings = settings(max_examples=20, stateful_step_count=20)
