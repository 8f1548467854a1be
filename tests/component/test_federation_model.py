# SPDX-License-Identifier: Apache-2.0
"""One aggregator, a broker and three sites under every mishap at once: nothing is lost, nothing counts twice, every wait ends.

What of it is real: see ``tests.fakes.federation``. ``FEDAGENT_MODEL_RUNS`` says how many runs; many are shared by processes.
"""

import logging
import os
import subprocess
import sys
from functools import partial
from typing import Final

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from typing_extensions import override

from fedagent.aggregator import studies
from fedagent.aggregator.rounds import ACTIVE, Round, part_of, sites_in
from fedagent.aggregator.tables import PartPhase, RoundPhase, StudyPhase
from fedagent.core import events as on
from fedagent.core.agent import AnyEvent
from fedagent.core.governor import ManualPause
from fedagent.core.participation import objection_to
from fedagent.core.round import Phase
from fedagent.site import store as site_store
from fedagent.wire import messages as m
from fedagent.wire import study as s
from tests.fakes.federation import PARTIES, SITES, Federation
from tests.fakes.network import AGGREGATOR, CALM, Weather
from tests.fakes.scenes import approval

STUDIES: Final = ("heart-1", "lung-1")
DEADLINE_S: Final = 60.0
WEATHERS: Final = (CALM, Weather(drops=100), Weather(50, 100, 200), Weather(300, 300, 300))
HEALED_STEPS: Final = 90
LONG_ENOUGH: Final = 25
"""Healed steps after which a round that waits for a person's word is not watched any longer."""
HEALED_STEP_S: Final = 10.0

SEEDS = st.integers(0, 2**32 - 1)
PAUSE: Final = on.PauseAsked(pause=ManualPause(by="anna"))
A_SITE = st.sampled_from(SITES)
A_PARTY = st.sampled_from([AGGREGATOR, *PARTIES])
A_STUDY = st.sampled_from(STUDIES)


class Scene(msgspec.Struct, frozen=True):
    """What a run begins with.

    Attributes:
        approved: the sites where root has approved everything.
        approves_late: root approves everything everywhere in the end.
        stops: the operator may stop a study.
        lead: steps before anything bad happens.
    """

    rounds: int
    quorum: int
    parameters: int
    studies: int
    approved: tuple[str, ...]
    approves_late: bool
    stops: bool
    lead: int


SCENES = st.builds(
    Scene,
    rounds=st.integers(1, 2),
    quorum=st.integers(1, 3),
    parameters=st.sampled_from([1, 1, 20_000]),
    studies=st.sampled_from([1, 1, 1, 1, 2]),
    approved=st.sampled_from([SITES, SITES, SITES[:2], ()]),
    approves_late=st.sampled_from([True, True, False]),
    stops=st.sampled_from([False, False, False, True]),
    lead=st.sampled_from([0, 30, 100, 200]),
)


def study_of(name: str, scene: Scene) -> s.Study:
    federation = s.Federation(rounds=scene.rounds, sites=SITES, quorum=scene.quorum, deadline_s=DEADLINE_S)
    return s.Study(
        name=name,
        purpose="Test.",
        contact="study@example.org",
        task=s.Identity(parameters=scene.parameters),
        federation=federation,
        chunk_bytes=65_536,
    )


class Model(Federation, RuleBasedStateMachine):
    """Whatever happens, in any order; then all is healed, and everything must come to its end."""

    def __init__(self) -> None:
        RuleBasedStateMachine.__init__(self)
        Federation.__init__(self)
        self.scene: Scene
        self.furthest: dict[tuple[str, str], int] = {}
        self.closed: dict[tuple[str, int], Round] = {}
        self.spooled: set[bytes] = set()

    @initialize(scene=SCENES, seed=SEEDS)
    def begins(self, scene: Scene, seed: int) -> None:
        self.scene = scene
        for name in STUDIES[: scene.studies]:
            made = self.studies[name] = study_of(name, scene)
            for site in scene.approved:
                self.disks[site].approvals[name] = approval(made)
        for name in PARTIES:
            self.start(name)
            self.connect(name)
        assert self.aggregator is not None
        for name, made in self.studies.items():
            studies.create(self.centre.store, made, self.world.clock.wall_s)
            self.act(AGGREGATOR, partial(self.aggregator.start_study, name))
        self.go_on(seed, scene.lead)

    # --- what may happen ----------------------------------------------------------------------------------------------

    @rule(seed=SEEDS, steps=st.sampled_from([20, 60, 150]))
    def things_go_on(self, seed: int, steps: int) -> None:
        self.go_on(seed, steps)

    @rule(weather=st.sampled_from(WEATHERS), faults=st.sampled_from([0, 0, 20, 200]))
    def the_weather_changes(self, weather: Weather, faults: int) -> None:
        """The network's, and that of trainers and updates: how often in a thousand times one fails."""
        self.weather, self.faults = weather, faults

    @rule(seed=SEEDS, seconds=st.sampled_from([5.0, 11.0, DEADLINE_S + 1.0, 170.0]))
    def time_passes(self, seed: int, seconds: float) -> None:
        self.let_pass(seconds)
        self.go_on(seed)

    @rule(seed=SEEDS, name=A_PARTY, actions=st.integers(0, 40))
    def a_party_dies(self, seed: int, name: str, actions: int) -> None:
        """Now, or in the middle of what it will do next."""
        if actions:
            self.world.network.doom(name, actions)
        else:
            self.kill(name)
        self.go_on(seed)

    @rule(seed=SEEDS, name=A_PARTY)
    def a_link_is_cut(self, seed: int, name: str) -> None:
        self.act(name, lambda: self.world.network.cut(name))
        self.go_on(seed)

    @rule(seed=SEEDS, stays=st.booleans())
    def the_broker_forgets_all(self, seed: int, stays: bool) -> None:
        self.world.network.up = stays
        self.world.network.wipe()
        self.go_on(seed)

    @rule(seed=SEEDS, name=A_SITE, cpu=st.sampled_from([0.0, 0.9]), memory=st.sampled_from([8192, 10]))
    def a_machine_is_used(self, seed: int, name: str, cpu: float, memory: int) -> None:
        self.disks[name].cpu_others, self.disks[name].memory_mib = cpu, memory
        self.go_on(seed)

    @rule(seed=SEEDS, name=A_SITE, word=st.sampled_from([PAUSE, on.ResumeAsked(), on.StopAsked()]))
    def somebody_speaks_to_the_daemon(self, seed: int, name: str, word: AnyEvent) -> None:
        self.tell(name, word)
        self.go_on(seed)

    @rule(seed=SEEDS, name=A_SITE, study=A_STUDY, limit=st.sampled_from([0, 0, 1, None, None]))
    def root_decides(self, seed: int, name: str, study: str, limit: int | None) -> None:
        """Approves the study, or (0) takes the approval back."""
        if limit == 0:
            self.disks[name].approvals.pop(study, None)
        elif study in self.studies:
            self.disks[name].approvals[study] = approval(self.studies[study], rounds=limit)
        self.go_on(seed)

    @precondition(lambda self: self.scene.stops and self.aggregator is not None)
    @rule(seed=SEEDS, study=A_STUDY)
    def the_operator_stops_a_study(self, seed: int, study: str) -> None:
        record = self.centre.store.find_study(study)
        assert self.aggregator is not None
        if record is not None and record.phase in (StudyPhase.CREATED, StudyPhase.RUNNING):
            self.act(AGGREGATOR, partial(self.aggregator.stop_study, study))
        self.go_on(seed)

    # --- what always holds --------------------------------------------------------------------------------------------

    @invariant()
    def rounds_move_forward_and_closed_ones_stay(self) -> None:
        for name in self.studies:
            newest = self.centre.store.current_round(name)
            if newest is None:
                continue
            self.moves_forward(AGGREGATOR, name, newest.number)
            for number in range(1, newest.number + 1):
                round_ = self.centre.store.round(name, number)
                assert round_ is not None
                assert number == newest.number or round_.phase is RoundPhase.CLOSED
                if round_.phase is RoundPhase.CLOSED:
                    assert self.closed.setdefault((name, number), round_) == round_
                    self.is_closed_rightly(round_)

    def is_closed_rightly(self, round_: Round) -> None:
        """By its quorum, each site once, and the model is made of just what these sites sealed."""
        folded = [part for part in round_.parts if part.phase is PartPhase.FOLDED]
        assert len(folded) >= round_.quorum
        if round_.kind is not m.RoundKind.TRAIN:
            return
        store = self.centre.store
        base, made = store.model(round_.study, round_.number - 1), store.model(round_.study, round_.number)
        assert base is not None
        assert made is not None
        blobs = [part.blob or b"" for part in folded]
        for part, blob in zip(folded, blobs, strict=True):
            trained = (part.site, round_.study, round_.number, base.reference.plaintext)
            assert self.world.sealed[blob] == trained
        assert made.reference.plaintext == self.world.model_of(base.reference.plaintext, blobs)

    @invariant()
    def no_update_is_lost(self) -> None:
        for name, disk in self.disks.items():
            known, _ = site_store.load(disk.database)
            for study in known.values():
                self.moves_forward(name, study.name, study.round)
                if study.offer is not None and study.offer.manifest.size_bytes:
                    assert study.update in disk.blobs.whole
                    self.spooled.add(study.update)
            held = {study.update for study in known.values()}
            for blob in [each for each in self.spooled if self.world.sealed[each][0] == name]:
                if blob not in held:
                    self.is_answered(blob)

    def is_answered(self, blob: bytes) -> None:
        """The site let this update go: then the aggregator has it, or an answer that ended it was due."""
        site, study, number, _ = self.world.sealed[blob]
        record, round_ = self.centre.store.study(study), self.centre.store.round(study, number)
        assert round_ is not None
        part = part_of(round_, site)
        assert part is not None
        over = record.phase is not StudyPhase.RUNNING or round_.phase not in ACTIVE
        assert over or part.phase in (PartPhase.STORED, PartPhase.REFUSED), (blob.hex(), part)

    @invariant()
    def what_is_stored_is_there(self) -> None:
        for name in self.studies:
            round_ = self.centre.store.current_round(name)
            if round_ is None or round_.phase not in ACTIVE or round_.kind is not m.RoundKind.TRAIN:
                continue
            waiting = {each.blob for each in self.centre.store.uploads(name, round_.number)}
            for part in round_.parts:
                if part.phase is PartPhase.STORED:
                    assert part.blob in waiting
                    assert part.blob in self.centre.updates.whole

    def moves_forward(self, who: str, study: str, number: int) -> None:
        assert number >= self.furthest.get((who, study), 0)
        self.furthest[who, study] = number

    # --- in the end ---------------------------------------------------------------------------------------------------

    @override
    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None and self.studies:
                self.all_is_healed()
        finally:
            self.close()

    def all_is_healed(self) -> None:
        self.nothing_hinders()
        for step in range(HEALED_STEPS):
            self.all_are_back()
            self.all_that_can_happens()
            if self.all_have_ended() or (step >= LONG_ENOUGH and self.all_say_why_not()):
                break
            self.let_pass(HEALED_STEP_S)
        self.rounds_move_forward_and_closed_ones_stay()
        self.no_update_is_lost()
        for name in self.studies:
            self.has_ended_or_says_why_not(name)

    def nothing_hinders(self) -> None:
        network = self.world.network
        network.up, network.weather = True, CALM
        network.spare()
        self.faults = 0
        for disk in self.disks.values():
            disk.cpu_others, disk.memory_mib = 0.0, 8192
            if self.scene.approves_late:
                disk.approvals = {name: approval(study) for name, study in self.studies.items()}

    def all_are_back(self) -> None:
        for name in PARTIES:
            self.start(name)
            self.connect(name)
        for name, site in self.sites.items():
            if site.state.record.pause is not None:
                self.tell(name, on.ResumeAsked())

    def all_have_ended(self) -> bool:
        return all(
            self.centre.store.study(name).phase is not StudyPhase.RUNNING
            and all(self.ended_at(site, name) for site in SITES)
            for name in self.studies
        )

    def all_say_why_not(self) -> bool:
        try:
            for name in self.studies:
                self.has_ended_or_says_why_not(name)
        except AssertionError:
            return False
        return True

    def ended_at(self, site: str, study: str) -> bool:
        """Whether the site knows that the study is over; of one that it never heard of it need not."""
        if site not in self.sites:
            return False
        known = self.sites[site].state.studies.get(study)
        return known is None or known.phase is Phase.ENDED

    def has_ended_or_says_why_not(self, name: str) -> None:
        record, round_ = self.centre.store.study(name), self.centre.store.current_round(name)
        where = {site: self.sites[site].state.studies.get(name) for site in SITES}
        said = self.story(name)
        if record.phase is not StudyPhase.RUNNING:
            assert round_ is None or all(self.ended_at(site, name) for site in SITES), said
            return
        assert round_ is not None
        assert round_.phase is RoundPhase.OPEN, said
        assert round_.reason, said
        for part in round_.parts:
            study = where[part.site]
            assert study is not None, said
            assert study.round == round_.number, said
            away = study.phase is Phase.DECLINED and part.phase in (PartPhase.DECLINED, PartPhase.REFUSED)
            unapproved = study.phase is Phase.UNAPPROVED and objection_to(self.sites[part.site].state, study)
            delivered = study.phase is Phase.DELIVERED and part.phase is PartPhase.STORED
            assert delivered or ((away or unapproved) and study.note), said
        assert len(sites_in(round_, PartPhase.STORED)) < round_.quorum


RUNS: Final = int(os.environ.get("FEDAGENT_MODEL_RUNS", "200"))
SHARD: Final = "FEDAGENT_MODEL_SHARD"  # set in the processes that share many runs
RULES: Final = 8


@pytest.mark.timeout(1800)
def test_nothing_is_lost_counted_twice_or_waited_for_in_vain(caplog: pytest.LogCaptureFixture) -> None:
    if RUNS > 1000 and SHARD not in os.environ:
        in_processes(os.cpu_count() or 1)
        return
    caplog.set_level(logging.CRITICAL)
    profile = settings(
        max_examples=RUNS, stateful_step_count=RULES, deadline=None, suppress_health_check=list(HealthCheck)
    )
    if SHARD in os.environ:
        profile = settings(profile, derandomize=False)  # each process has a seed of its own
    run_state_machine_as_test(Model, settings=profile)


def in_processes(count: int) -> None:
    running = []
    for number in range(count):
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:randomly",
            f"--hypothesis-seed={number}",
            __file__,
        ]
        share = {"FEDAGENT_MODEL_RUNS": str(-(-RUNS // count)), SHARD: str(number)}
        running.append(
            subprocess.Popen(
                command,
                env={**os.environ, **share},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    try:
        said = [each.communicate()[0] for each in running]
    finally:
        for each in running:
            each.kill()
            each.wait()
    if any(each.returncode for each in running):
        pytest.fail("\n".join(said), pytrace=False)
