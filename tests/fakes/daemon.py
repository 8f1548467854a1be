# SPDX-License-Identifier: Apache-2.0
"""A daemon that only answers: the real control socket and the real answers, from a state that a test chose.

Rule: it runs in a thread of its own, so that a test can call the blocking command; leaving the block joins the thread.
"""

import asyncio
import threading
from pathlib import Path
from typing import Final, Self

from fedagent.core import agent
from fedagent.core import events as on
from fedagent.core.facts import Instant
from fedagent.core.state import AgentState
from fedagent.site import control, operator
from fedagent.storage.shortage import Shortage
from fedagent.transport.outage import LinkStatus
from tests.fakes.scenes import SITE, at

PATIENCE_S: Final = 10.0


def write_settings(folder: Path) -> Path:
    """A site's ``fedagent.toml`` in the folder, with the run-time, approvals and datasets folders beside it."""
    for name in ("run", "approvals.d", "datasets.d"):
        (folder / name).mkdir()
    path = folder / "fedagent.toml"
    path.write_text(
        f'site.name = "{SITE}"\nbroker.host = "broker"\n'
        'paths.runtime = "run"\npaths.approvals = "approvals.d"\npaths.datasets = "datasets.d"\n'
    )
    return path


class FakeLink:
    """What the link to the broker knows of itself: connected for a minute when the tests' clock begins."""

    bytes_up = 1_500
    bytes_down = 2_500_000
    status = LinkStatus(connected=True, reason="", since=at(-60).wall)


class FakeDaemon:
    """A context: the daemon listens from its first to its last line.

    Attributes:
        state: what the answers are made of, with ``link`` and ``now``; pause and resume change it as the core says.
        asked: what was asked, with the user who asked.
    """

    def __init__(
        self, runtime: Path, state: AgentState, *, deaf: bool = False, now: Instant | None = None
    ) -> None:
        self.state, self.link, self.now = state, FakeLink(), now or at(0)
        self.asked: list[control.Asked] = []
        self._runtime, self._deaf = runtime, deaf
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._ended: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._ended is not None
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(PATIENCE_S)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._ended = asyncio.Event()
        server = await control.serve(control.socket_path(self._runtime), self._answer)
        self._ready.set()
        try:
            await self._ended.wait()
            for each in self.asked:
                each.answer.cancel()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            await asyncio.gather(*others, return_exceptions=True)
        finally:
            server.close()
            await server.wait_closed()

    def _answer(self, asked: control.Asked) -> None:
        self.asked.append(asked)
        if self._deaf:
            return
        shortage = Shortage(lambda: self.now)
        answer, event = operator.answer(self.state, asked, self.link, self.now, shortage)
        if isinstance(event, on.PauseAsked | on.ResumeAsked):
            self.state, _ = agent.step(self.state, event, self.now)
        asked.answer.set_result(answer)
