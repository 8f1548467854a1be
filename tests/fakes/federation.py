# SPDX-License-Identifier: Apache-2.0
"""A whole federation in memory, step by step: who is up, what may happen next, and how it happens.

The parties are the real ones: the steps of ``Daemon`` and ``Aggregator``, their cores, transfers, mailboxes, outboxes and SQLite.
Not real are the event loop, the broker, the trainer (it checks jobs as the supervisor does), a fold's arithmetic (its inputs
are checked), cryptography, and a chunk's 64 KiB (a token).
"""

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Final

import pytest

from fedagent.core.participation import objection_to
from fedagent.core.round import Phase
from fedagent.core.state import AgentState
from fedagent.site.app import Item
from fedagent.wire import study as s
from tests.fakes.memory_aggregator import AggregatorDisk, MemoryAggregator
from tests.fakes.memory_site import MemoryDaemon, SiteDisk
from tests.fakes.network import AGGREGATOR, CALM, Died, plain_cryptography
from tests.fakes.world import World

SITES: Final = ("clinic-a", "clinic-b", "clinic-c")
PARTIES: Final = (AGGREGATOR, *SITES)
Action = tuple[str, Callable[[], object]]
"""Something that may happen, and the party to which it happens."""


class Federation:
    """One aggregator, three sites, a broker between them.

    Attributes:
        faults: how often in a thousand times a trainer fails, or an update turns out to be no use.
    """

    def __init__(self) -> None:
        self.world = World()
        self.patch = pytest.MonkeyPatch()
        plain_cryptography(self.patch)
        clock = SimpleNamespace(
            monotonic=self.world.clock, time_ns=lambda: int(self.world.clock.wall_s * 1e9)
        )
        for module in ("fedagent.site.app", "fedagent.site.performer"):
            self.patch.setattr(f"{module}.time", clock)
        for module in (
            "fedagent.storage.database",
            "fedagent.aggregator.intake",
            "fedagent.transport.download",
        ):
            self.patch.setattr(f"{module}.reach", self.reached)
        self.patch.setattr("fedagent.transport.upload.read_at", self.read_at)
        self.running = ""
        self.weather, self.faults = CALM, 0
        self.studies: dict[str, s.Study] = {}
        self.disks = {name: SiteDisk(name) for name in SITES}
        self.centre = AggregatorDisk()
        self.sites: dict[str, MemoryDaemon] = {}
        self.aggregator: MemoryAggregator | None = None

    def close(self) -> None:
        self.patch.undo()
        self.centre.database.close()
        for disk in self.disks.values():
            disk.database.close()

    def go_on(self, seed: int, steps: int = 35) -> None:
        """Messages move, inboxes are read, trainers train, time passes, who died comes back."""
        network, dice = self.world.network, random.Random(seed)
        network.weather, network.random = self.weather, dice
        for _ in range(steps):
            actions, luck = self.actions(dice), dice.randrange(30)
            if not actions or luck == 0:
                self.let_pass(dice.choice([0.1, 1.0, 2.5]))
            elif luck == 1:
                network.up = True
                self.start(dice.choice(PARTIES))
            else:
                self.act(*dice.choice(actions))
        network.weather = CALM

    def actions(self, dice: random.Random) -> list[Action]:
        """All that may happen next."""
        network = self.world.network
        found: list[Action] = [(name, partial(network.deliver, name)) for name in network.waiting()]
        if network.up:
            found += [(name, partial(network.connect, name)) for name in network.away()]
        for name, site in self.sites.items():
            if site.busy:
                found.append((name, site.consume))
            for each in site.hosting.actions():
                if not each.fault or self.fails(dice):
                    found.append((name, each.do))
        if self.aggregator is not None:
            found += self.at_the_aggregator(self.aggregator, dice)
        return found

    def at_the_aggregator(self, aggregator: MemoryAggregator, dice: random.Random) -> list[Action]:
        found: list[Action] = [(AGGREGATOR, aggregator.consume)] if aggregator.busy else []
        if aggregator.jobs and dice.randrange(5) == 0:  # long work: much happens meanwhile
            spoiled = dice.choice(SITES) if self.fails(dice) else None
            found.append((AGGREGATOR, partial(aggregator.do_job, spoiled)))
        return found

    def fails(self, dice: random.Random) -> bool:
        return dice.randrange(1000) < self.faults

    def let_pass(self, seconds: float) -> None:
        self.world.clock.advance(seconds)
        if self.aggregator is not None:
            self.act(AGGREGATOR, self.aggregator.pump)
        for name, site in list(self.sites.items()):
            self.act(name, site.look)

    def act(self, name: str, action: Callable[[], object]) -> None:
        """The party does it, ends orderly when it says so, or dies of it."""
        if not self.is_up(name):
            return
        self.running = name
        try:
            ended = action()
        except Died:
            self.kill(name)
        else:
            if name in SITES and ended is True:
                self.kill(name)

    def tell(self, name: str, event: Item) -> None:
        if name in self.sites:
            self.sites[name]._inbox.put_nowait(event)

    def is_up(self, name: str) -> bool:
        return self.aggregator is not None if name == AGGREGATOR else name in self.sites

    def start(self, name: str) -> None:
        if self.is_up(name):
            return
        self.running = name
        try:
            if name == AGGREGATOR:
                self.aggregator = MemoryAggregator(self.world, self.centre)
            else:
                self.sites[name] = MemoryDaemon(self.world, self.disks[name], self.stepped)
        except Died:
            self.kill(name)

    def kill(self, name: str) -> None:
        self.world.network.spare(name)
        self.world.network.detach(name)
        if name == AGGREGATOR:
            self.centre.database.died()
            self.aggregator = None
        else:
            self.disks[name].database.died()
            self.sites.pop(name, None)

    def connect(self, name: str) -> None:
        self.act(name, lambda: self.world.network.connect(name))

    def reached(self, point: str) -> None:
        self.world.network.act(self.running)

    def read_at(self, path: Path, offset: int, size: int) -> bytes:
        """A chunk of a site's spool."""
        return self.disks[self.running].blobs.whole[bytes.fromhex(str(path))][offset // 65_536]

    def stepped(self, daemon: MemoryDaemon, before: AgentState, event: object) -> None:
        """After a site's step: no work without approval once the site knows of it."""
        state = daemon.state
        for name, study in state.studies.items():
            known = before.studies.get(name)
            assert known is None or study.round >= known.round
            assert study.phase is not Phase.TRAINING or objection_to(state, study) is None

    def all_that_can_happens(self) -> None:
        """In a fixed order, until nobody has anything left to do."""
        for _ in range(200):
            if not sum([self.does_all_it_can(name) for name in PARTIES]):
                return
        raise AssertionError("they talk for ever")

    def does_all_it_can(self, name: str) -> int:
        """How many things that were."""
        done, network = 0, self.world.network
        while self.is_up(name) and network.waits(name):
            self.act(name, lambda: network.deliver(name))
        while self.is_up(name) and (party := self.party(name)).busy:
            self.act(name, party.consume)
            done += 1
        if name in self.sites:
            actions = [each.do for each in self.sites[name].hosting.actions() if not each.fault]
        else:
            actions = [self.aggregator.do_job] if self.aggregator and self.aggregator.jobs else []
        if actions:
            self.act(name, actions[0])
            done += 1
        return done

    def party(self, name: str) -> MemoryAggregator | MemoryDaemon:
        aggregator = self.aggregator
        return aggregator if name == AGGREGATOR and aggregator is not None else self.sites[name]

    def story(self, name: str) -> str:
        """Where everybody stands, for the person who reads the failure."""
        round_ = self.centre.store.current_round(name)
        lines = [f"{name}: {self.centre.store.study(name).phase}"]
        if round_ is not None:
            lines.append(f"round {round_.number} {round_.kind} {round_.phase}, {round_.reason}")
            lines += [f"part {part.site} {part.phase} {part.reason} {part.text}" for part in round_.parts]
        for site, daemon in self.sites.items():
            study, trainer = daemon.state.studies.get(name), daemon.state.trainer
            stands = f"round {study.round} {study.phase}: {study.note}" if study else "knows of nothing"
            lines.append(f"site {site}: {stands}; {trainer.stage}, {daemon.state.standing.said}")
        return "\n".join(lines)
