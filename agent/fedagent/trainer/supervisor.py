# SPDX-License-Identifier: Apache-2.0
"""The trainer's supervisor: checks jobs, runs the worker, seals results; ``python -m fedagent.trainer.supervisor``.

Rule: one thread, one loop, no torch. It ends with its connection, and everything below it ends with it.
"""

import argparse
import contextlib
import fcntl
import logging
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fedagent.channel import FrameChannel
from fedagent.conditions.settings import TRAINER_CANNOT_READ_CA
from fedagent.conditions.trainer import NOT_A_TRAINER_KEY
from fedagent.errors import ConfigurationError, FedagentError, StorageError
from fedagent.journal import log_to_stderr, tell
from fedagent.security.certificates import Trust
from fedagent.security.sealing import new_private_key
from fedagent.storage.files import make_private_folder, write_atomically
from fedagent.storage.settings import read_settings
from fedagent.trainer.groups import make_group
from fedagent.trainer.hardening import shield
from fedagent.trainer.jobs import JobCheck
from fedagent.trainer.lifeline import EndError, Lifeline
from fedagent.trainer.process import free_channel
from fedagent.trainer.rounds import RoundLedger
from fedagent.trainer.session import Session, WorkerStart
from fedagent.trainer.snapshots import SnapshotStore
from fedagent.trainer.watch import Watch

WORKER: Final = (sys.executable, "-P", "-m", "fedagent.trainer.worker")

KEY_BYTES: Final = 32

_TURN_MS: Final = 50

_log: Final = logging.getLogger(__name__)


def main() -> int:
    """The program; returns its exit code."""
    return run(sys.argv[1:], WORKER)


def run(arguments: Sequence[str], worker: Sequence[str]) -> int:
    """Serves the connection that is descriptor 3 until it ends.

    Args:
        worker: the worker's command line.
    """
    parser = argparse.ArgumentParser(prog="fedagent-trainer", description=__doc__)
    parser.add_argument("--config", type=Path, default=Path("/etc/fedagent/fedagent.toml"))
    config = parser.parse_args(arguments).config
    log_to_stderr(speaker="trainer")
    try:
        shield()
        _serve(config, worker)
    except EndError as end:
        tell(_log, end.said)
    except FedagentError as error:
        tell(_log, error.said)
        return error.exit_code
    return 0


def _serve(config: Path, worker: Sequence[str]) -> None:
    settings = read_settings(config)
    state = make_private_folder(Path(settings.paths.trainer_state))
    connection = socket.socket(fileno=free_channel())
    with connection:
        lifeline = Lifeline(connection.fileno())
        lock = _take_turn(state / "lock", lifeline)
        start = WorkerStart(
            tuple(worker), home=state, threads=settings.trainer.threads, group=make_group(), lock=lock
        )
        rounds = RoundLedger(state / "rounds.json")
        check = JobCheck(
            settings,
            trust=_trust(Path(settings.broker.ca)),
            private_key=_private_key(state / "key"),
            rounds=rounds,
            snapshots=SnapshotStore(state / "snapshots"),
        )
        check.erase_unapproved()
        limits = settings.trainer
        watch = Watch(step_limit_s=limits.step_limit_s, load_limit_s=limits.load_limit_s)
        session = Session(FrameChannel(connection), lifeline, start, check, rounds, watch)
        with contextlib.closing(session):
            session.serve()


def _take_turn(path: Path, lifeline: Lifeline) -> int:
    """The lock that only one trainer of this state folder has: it waits until the one before, worker included, is gone.

    Raises:
        EndError: not wanted any more.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lifeline.check(_TURN_MS)
        else:
            return descriptor


def _private_key(path: Path) -> bytes:
    """The trainer's X25519 key, made at the first start.

    Raises:
        StorageError: the file is not a key, or cannot be written.
    """
    if not path.exists():
        write_atomically(path, new_private_key())
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise StorageError(NOT_A_TRAINER_KEY(path=path))
    return key


def _trust(path: Path) -> Trust:
    try:
        return Trust(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(TRAINER_CANNOT_READ_CA(path=path, reason=error.strerror)) from error


if __name__ == "__main__":
    sys.exit(main())
