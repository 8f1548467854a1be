# SPDX-License-Identifier: Apache-2.0
"""Frames with descriptors over one SOCK_SEQPACKET connection, and the sealed memfds that travel beside them.

Rule: a received descriptor is close-on-exec from its first instant, and is closed here where its frame is refused.
"""

import array
import fcntl
import os
import socket
from collections.abc import Iterable, Sequence
from types import UnionType
from typing import Any, Final, TypeVar, overload

from fedagent.conditions.messages import (
    CANNOT_SEAL,
    FRAME_CUT,
    FRAME_TOO_LONG,
    MEMFD_TOO_LARGE,
    NO_MEMFD,
    NOT_SEALED,
)
from fedagent.errors import WireError
from fedagent.wire.codec import decode, encode
from fedagent.wire.frames import FRAME_BYTES, FRAME_DESCRIPTORS, Frame

F = TypeVar("F", bound=Frame)

SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
"""Whoever holds such a memfd knows that its bytes stay what they are (memfd_create(2), fcntl(2))."""

_INT_BYTES: Final = array.array("i").itemsize


class FrameChannel:
    """One end of the connection between daemon and supervisor, or between supervisor and worker."""

    def __init__(self, connection: socket.socket) -> None:
        """Takes the socket over; whether calls wait is the socket's own blocking mode."""
        self._connection = connection

    def send(self, frame: Frame, descriptors: Sequence[int] = ()) -> None:
        """Hands the frame and copies of the descriptors to the kernel; the caller keeps its descriptors.

        Raises:
            WireError: longer than a frame may be.
            BlockingIOError: the peer does not read, and the socket does not wait.
            OSError: the peer is gone.
        """
        data = encode(frame)
        if len(data) > FRAME_BYTES or len(descriptors) > FRAME_DESCRIPTORS:
            said = FRAME_TOO_LONG(frame=type(frame).__name__, bytes=len(data), descriptors=len(descriptors))
            raise WireError(said)
        beside = (
            [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        )
        self._connection.sendmsg([data], beside, socket.MSG_NOSIGNAL)

    @overload
    def receive(self, kind: type[F]) -> tuple[F, list[int]] | None: ...

    @overload
    def receive(self, kind: UnionType) -> tuple[Any, list[int]] | None: ...

    def receive(self, kind: type[F] | UnionType) -> tuple[Any, list[int]] | None:
        """The next frame and its descriptors, which the caller now owns; None: the peer closed.

        Args:
            kind: the union of the frames that may come from this peer.

        Raises:
            WireError: not such a frame, or cut off; its descriptors are closed.
            BlockingIOError: nothing is there, and the socket does not wait.
        """
        try:
            data, beside, flags = self._next()
        except ConnectionResetError:
            # Closed with frames of ours unread. The kernel tells this once, before what the peer sent last
            # (net/unix/af_unix.c, unix_release_sock; net/core/datagram.c, sock_error comes first).
            data, beside, flags = self._next()
        descriptors = _descriptors(beside)
        if not data and not descriptors:
            return None
        try:
            if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                raise WireError(FRAME_CUT(bytes=FRAME_BYTES, descriptors=FRAME_DESCRIPTORS))
            return decode(data, kind, limit_bytes=FRAME_BYTES), descriptors  # type: ignore[arg-type]
        except WireError:
            close_all(descriptors)
            raise

    def _next(self) -> tuple[bytes, list[tuple[int, int, bytes]], int]:
        space = socket.CMSG_SPACE(FRAME_DESCRIPTORS * _INT_BYTES)
        return self._connection.recvmsg(FRAME_BYTES, space, socket.MSG_CMSG_CLOEXEC)[:3]

    def fileno(self) -> int:
        """For select, poll and add_reader."""
        return self._connection.fileno()

    def close(self) -> None:
        """Ends the connection; the peer reads the end after what was already sent."""
        self._connection.close()


def close_all(descriptors: Iterable[int]) -> None:
    """The descriptors are closed."""
    for descriptor in descriptors:
        os.close(descriptor)


def sealed_memfd(name: str, chunks: Iterable[bytes | memoryview]) -> int:
    """A memfd that holds the chunks one after the other and can never change; the caller owns it.

    Whoever writes the pages pays for them (their cgroup's memory.current).

    Args:
        name: for people, shown in /proc/PID/fd.
    """
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        for chunk in chunks:
            rest = memoryview(chunk)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        seal_memfd(descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def seal_memfd(descriptor: int) -> None:
    """The memfd can never change again, whoever made it and whoever else holds it.

    Raises:
        WireError: no memfd, or its maker keeps it writable (a shared mapping, or no MFD_ALLOW_SEALING).
    """
    try:
        if fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & SEALS != SEALS:
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, SEALS)
    except OSError as error:
        raise WireError(CANNOT_SEAL(reason=error.strerror), "descriptor") from error


def check_sealed(descriptor: int, limit_bytes: int) -> int:
    """The size of a memfd that its sender can no longer change.

    Raises:
        WireError: not a memfd, not sealed, or larger than the limit.
    """
    try:
        seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    except OSError as error:
        raise WireError(NO_MEMFD(), "descriptor") from error
    if seals & SEALS != SEALS:
        raise WireError(NOT_SEALED(seals=seals, needed=SEALS), "descriptor")
    size = os.fstat(descriptor).st_size
    if size > limit_bytes:
        raise WireError(MEMFD_TOO_LARGE(bytes=size, limit=limit_bytes), "descriptor")
    return size


def _descriptors(beside: Iterable[tuple[int, int, bytes]]) -> list[int]:
    found = array.array("i")
    for level, kind, data in beside:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found.frombytes(data[: len(data) - len(data) % _INT_BYTES])
    return found.tolist()
