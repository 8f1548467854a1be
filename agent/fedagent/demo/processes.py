# SPDX-License-Identifier: Apache-2.0
"""The demo's programs as child processes: each with its log, each ended by its id.

Rule: nothing outlives the demo; a program that ends early is an error with the last line of its log.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

from fedagent.conditions.commands import DEMO_COMMAND_FAILED, DEMO_COMMAND_SLOW, DEMO_PROGRAM_ENDED
from fedagent.errors import FedagentError

END_S: Final = 15.0
COMMAND_S: Final = 120.0

MEMORY: Final = {"MALLOC_MMAP_THRESHOLD_": "33554432", "MALLOC_TRIM_THRESHOLD_": "67108864"}
"""glibc would map and unmap every message-sized buffer; page faults then cost more than the copies."""


class Program:
    """One long-running program."""

    def __init__(self, name: str, words: Sequence[str], log: Path) -> None:
        """Starts it; its output goes to the log."""
        self.name, self.log = name, log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **MEMORY},
                start_new_session=True,  # Ctrl-C is for the demo, which then ends each program in order
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def check(self) -> None:
        """Nothing, while it runs.

        Raises:
            FedagentError: it has ended, and its last words.
        """
        code = self._process.poll()
        if code is not None:
            said = DEMO_PROGRAM_ENDED(program=self.name, code=code, reason=last_line(self.log), log=self.log)
            raise FedagentError(said)

    def kill(self) -> None:
        """Ends it as a power failure would."""
        self._process.kill()
        self._process.wait(END_S)

    def end(self) -> None:
        """Asks it to end, and insists after a while."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(END_S)


class Programs:
    """All programs of one federation, ended in the reverse order of their start."""

    def __init__(self) -> None:
        self._running: list[Program] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for program in reversed(self._running):
            program.end()

    def start(self, name: str, words: Sequence[str], log: Path) -> Program:
        """Starts a program of ours."""
        program = Program(name, words, log)
        self._running.append(program)
        return program

    def kill(self, name: str) -> None:
        """Ends the program of that name as a power failure would; it may be started again."""
        for program in [each for each in self._running if each.name == name]:
            program.kill()
            self._running.remove(program)

    def check(self) -> None:
        """Nothing, while all run.

        Raises:
            FedagentError: one has ended.
        """
        for program in self._running:
            program.check()


def module(name: str, *words: str) -> list[str]:
    """The command line that runs one of our modules with this interpreter."""
    return [sys.executable, "-m", name, *words]


def call(words: Sequence[str], *, environment: Mapping[str, str] | None = None) -> str:
    """What a command printed.

    Raises:
        FedagentError: it failed, in its own words.
    """
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            env={**os.environ, **(environment or {})},
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise FedagentError(DEMO_COMMAND_SLOW(command=" ".join(words[2:5]), limit_s=COMMAND_S)) from error
    if done.returncode:
        said = done.stderr.strip().splitlines() or done.stdout.strip().splitlines() or ["it said nothing"]
        raise FedagentError(DEMO_COMMAND_FAILED(command=" ".join(words[2:5]), reason=said[-1]))
    return done.stdout


def last_line(log: Path) -> str:
    """The last line of a log that is not empty."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
