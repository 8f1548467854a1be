# SPDX-License-Identifier: Apache-2.0
"""The daemon's view of the trainer: one connection, from its start to its end.

Rule: nothing here waits, and after ``start`` exactly one ``TrainerGone`` comes, whatever happens.
"""

import asyncio
import contextlib
import os
import signal
import socket
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from fedagent.channel import FrameChannel, close_all
from fedagent.conditions.condition import Said
from fedagent.conditions.messages import NOT_READY
from fedagent.conditions.trainer import (
    CANNOT_PAUSE,
    CANNOT_PAUSE_SERVICE,
    NO_TRAINER,
    NO_TRAINER_SOCKET,
    TRAINER_BROKE_PROTOCOL,
    TRAINER_ENDED,
    TRAINER_EXITED,
    TRAINER_KILLED,
    TRAINER_NOT_STARTED,
    TRAINER_UNREACHABLE,
)
from fedagent.core.settings import Settings
from fedagent.errors import TrainerError, WireError
from fedagent.launch.child import Child, start_child
from fedagent.launch.control import Control, control_of
from fedagent.wire.frames import (
    CheckpointDone,
    DaemonFrame,
    JobFailed,
    JobProgress,
    JobRefused,
    JobSealed,
    Ready,
    SupervisorFrame,
)

READY_LIMIT_S: Final = 120.0
"""Longest wait for the first frame; beside a full load an idle-weight start takes more than a minute."""

END_LIMIT_S: Final = 5.0
"""A child that has not ended so long after its connection is killed."""


class TrainerCame(msgspec.Struct, frozen=True):
    """The supervisor is there and takes jobs."""

    ready: Ready


class TrainerFrame(msgspec.Struct, frozen=True):
    """A frame of the supervisor; whoever receives this owns and closes the descriptors."""

    frame: JobRefused | JobProgress | JobSealed | JobFailed | CheckpointDone
    descriptors: tuple[int, ...] = ()


class TrainerGone(msgspec.Struct, frozen=True):
    """The connection has ended, and with it the supervisor and the worker."""

    reason: Said


TrainerEvent = TrainerCame | TrainerFrame | TrainerGone


class Trainer:
    """A trainer, started once; for another one make a new object."""

    def __init__(self, settings: Settings, config: Path, on_event: Callable[[TrainerEvent], None]) -> None:
        """Starts nothing yet.

        Args:
            config: the settings file that a child's supervisor reads itself.
            on_event: called from the loop, never from within a method of this object.
        """
        self._settings = settings.trainer
        self._config = config
        self._on_event = on_event
        self._channel: FrameChannel | None = None
        self._child: Child | None = None
        self._control: Control | None = None
        self._frozen = False
        self._outbox: deque[tuple[DaemonFrame, list[int]]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._gone = asyncio.Event()
        self._gone.set()

    def start(self) -> None:
        """Connects to the systemd socket or starts a child; what comes of it is told by events."""
        loop = asyncio.get_running_loop()
        self._gone.clear()
        try:
            connection = self._connect()
        except TrainerError as error:
            loop.call_soon(self._tell_gone, error.said)
            return
        connection.setblocking(False)
        self._channel = FrameChannel(connection)
        loop.add_reader(connection.fileno(), self._readable)
        self._timer = loop.call_later(READY_LIMIT_S, self._end, NO_TRAINER(limit_s=READY_LIMIT_S))

    def send(self, frame: DaemonFrame, descriptors: Sequence[int] = ()) -> None:
        """The frame goes out in order, now or when there is room; the caller keeps its descriptors.

        Once the connection has ended this does nothing: ``TrainerGone`` is on its way.
        """
        if self._channel is None:
            return
        self._outbox.append((frame, [os.dup(descriptor) for descriptor in descriptors]))
        self._writable()

    def freeze(self) -> None:
        """The worker stops; before it is there: it will start stopped."""
        self._frozen = True
        self._brake()

    def thaw(self) -> None:
        """The worker goes on."""
        self._frozen = False
        self._brake()

    def kill_worker(self) -> None:
        """SIGKILL to the worker and its children, frozen or not; the supervisor then ends, too."""
        if self._control is not None:
            with contextlib.suppress(OSError):  # gone already; its end is on its way to us
                self._control.kill()

    def close(self) -> None:
        """Ends the connection, and so supervisor and worker, frozen or not; may be called again."""
        self._end()

    async def wait_closed(self) -> None:
        """Returns when nothing of the trainer that is ours is left (a child is reaped)."""
        await self._gone.wait()

    # --- coming up --------------------------------------------------------------------------------------------

    def _connect(self) -> socket.socket:
        """Our end of the connection.

        Raises:
            TrainerError: there is nobody at the other end.
        """
        path = self._settings.socket
        # A socket of an installed service is not for a daemon that somebody runs by hand; and a service never falls
        # back to a child, which would live in the daemon's own sandbox, with its network.
        by_systemd = self._settings.launch == "auto" and "NOTIFY_SOCKET" in os.environ
        if self._settings.launch != "socket" and not by_systemd:
            try:
                connection, self._child = start_child(self._config)
            except OSError as error:
                raise TrainerError(TRAINER_NOT_STARTED(reason=error.strerror)) from error
            return connection
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            connection.setblocking(False)
            connection.connect(path)
        except OSError as error:
            connection.close()
            raise TrainerError(NO_TRAINER_SOCKET(path=path, reason=error.strerror)) from error
        return connection

    def _came(self, ready: Ready, descriptors: list[int]) -> None:
        """Takes the brake over: at the start, and for each new worker after a crash."""
        if ready.control == "process-group" and self._child is None:
            close_all(descriptors)
            self._end(CANNOT_PAUSE_SERVICE())
            return
        control = control_of(ready, descriptors)
        first = self._control is None
        if self._control is not None:
            self._control.close()
        self._control = control
        if self._timer is not None:
            self._timer.cancel()
        if self._frozen:
            self._brake()
        if first:
            self._on_event(TrainerCame(ready))

    def _brake(self) -> None:
        if self._control is None:
            return
        try:
            if self._frozen:
                self._control.freeze()
            else:
                self._control.thaw()
        except OSError as error:
            self._end(CANNOT_PAUSE(reason=error.strerror))

    # --- frames -----------------------------------------------------------------------------------------------

    def _readable(self) -> None:
        if self._channel is None:
            return
        try:
            received = self._channel.receive(SupervisorFrame)
            if received is None:
                self._end()
                return
            frame, descriptors = received
            if isinstance(frame, Ready):
                self._came(frame, descriptors)
            elif self._control is None:
                close_all(descriptors)
                raise WireError(NOT_READY(frame=type(frame).__name__))
            else:
                self._on_event(TrainerFrame(frame, tuple(descriptors)))
        except BlockingIOError:
            return
        except WireError as error:
            self._end(TRAINER_BROKE_PROTOCOL(reason=error))

    def _writable(self) -> None:
        loop = asyncio.get_running_loop()
        while self._channel is not None and self._outbox:
            frame, descriptors = self._outbox[0]
            try:
                self._channel.send(frame, descriptors)
            except BlockingIOError:
                loop.add_writer(self._channel.fileno(), self._writable)
                return
            except OSError as error:
                if not isinstance(error, ConnectionError):  # that end is read after what the peer still said
                    self._end(TRAINER_UNREACHABLE(reason=error.strerror))
                    return
            close_all(descriptors)
            self._outbox.popleft()
        if self._channel is not None:
            loop.remove_writer(self._channel.fileno())

    # --- the end ----------------------------------------------------------------------------------------------

    def _end(self, reason: Said | None = None) -> None:
        """Closes everything; the first caller's reason counts, and without one how the trainer ended."""
        channel, self._channel = self._channel, None
        if channel is None:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(channel.fileno())
        loop.remove_writer(channel.fileno())
        self.kill_worker()  # not left to the supervisor: beside a full load it gets no CPU, either
        channel.close()
        if self._timer is not None:
            self._timer.cancel()
        while self._outbox:
            close_all(self._outbox.popleft()[1])
        if self._child is None:
            loop.call_soon(self._tell_gone, reason or TRAINER_ENDED())
            return
        loop.add_reader(self._child.pidfd, self._reap, self._child, reason)
        self._timer = loop.call_later(END_LIMIT_S, self._child.kill)

    def _reap(self, child: Child, reason: Said | None) -> None:
        asyncio.get_running_loop().remove_reader(child.pidfd)
        if self._timer is not None:
            self._timer.cancel()
        code = child.reap()
        self._tell_gone(reason or _ended(code))

    def _tell_gone(self, reason: Said) -> None:
        if self._control is not None:
            self._kill_leftover(self._control)
        self._gone.set()
        self._on_event(TrainerGone(reason))

    def _kill_leftover(self, control: Control) -> None:
        """A supervisor that was itself killed left its worker's children behind."""
        with contextlib.suppress(OSError):  # the cgroup is gone with its unit
            control.kill()
        control.close()
        self._control = None


def _ended(code: int) -> Said:
    """Why a child is no more."""
    if code < 0:
        return TRAINER_KILLED(signal=signal.Signals(-code).name)
    return TRAINER_EXITED(status=code)
