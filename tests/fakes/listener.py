# SPDX-License-Identifier: Apache-2.0
"""The supervisor as a task sees it (``tasks.Reporter``), in memory."""


class Listener:
    """Asks for a checkpoint at the given polls (the first is 1), and remembers what it hears."""

    def __init__(self, ask_at: tuple[int, ...] = ()) -> None:
        self.asked = 0
        self.ask_at = ask_at
        self.checkpoints: list[int] = []
        self.heard: list[tuple[int, int, int, float | None]] = []

    def checkpoint_asked(self) -> bool:
        self.asked += 1
        return self.asked in self.ask_at

    def checkpointed(self, step: int) -> None:
        self.checkpoints.append(step)

    def progress(self, *, step: int, steps: int, checkpoint_step: int, loss: float | None) -> None:
        self.heard.append((step, steps, checkpoint_step, loss))
