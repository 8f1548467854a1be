# SPDX-License-Identifier: Apache-2.0
"""A daemon's control socket: one JSON line asks, one JSON line answers, then the connection ends.

Rule: who asks is what the kernel says (SO_PEERCRED, unix(7)); what they may is for the daemon to decide.
"""

import asyncio
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from fedagent.conditions.broker import (
    CANNOT_LISTEN,
    DAEMON_NOT_RUNNING,
    DAEMON_SILENT,
    MAY_NOT_CONNECT,
    OTHER_VERSION,
    REQUEST_NOT_UNDERSTOOD,
)
from fedagent.errors import StorageError, UnavailableError, UsageError

LINE_BYTES: Final = 1_048_576


class Peer(NamedTuple):
    """The process at the other end."""

    user_id: int
    group_id: int


Answerer = Callable[[bytes, Peer], Awaitable[msgspec.Struct]]
"""Gives the reply to a line."""


async def listen(path: Path, answer: Answerer, *, mode: int, limit_s: float) -> asyncio.Server:
    """Listens; the caller closes the server.

    Args:
        mode: who may connect, as for files.
        limit_s: a connection ends after so long.

    Raises:
        StorageError: the socket cannot be made.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(limit_s):
                reply = await answer(await reader.readline(), _peer(writer))
                writer.write(msgspec.json.encode(reply) + b"\n")
                await writer.drain()
        except (TimeoutError, ConnectionError, ValueError):
            pass  # Whoever asked is gone, or asked too much: nobody is there to be told.
        finally:
            writer.close()

    try:
        server = await asyncio.start_unix_server(serve, path, limit=LINE_BYTES)
        os.chmod(path, mode)  # noqa: PTH101 (one system call on a local socket)
    except OSError as error:
        raise StorageError(CANNOT_LISTEN(path=path, reason=error.strerror)) from error
    return server


def parse(line: bytes, kind: Any) -> Any:  # noqa: ANN401 (a union of tagged Structs has no narrower type)
    """The value in a line.

    Args:
        kind: a union of tagged Structs.

    Raises:
        UsageError: it is not one of them.
    """
    try:
        return msgspec.json.decode(line, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(REQUEST_NOT_UNDERSTOOD(reason=error)) from error


def ask(path: Path, request: msgspec.Struct, kind: Any, *, program: str, limit_s: float) -> Any:  # noqa: ANN401 (as above)
    """The running daemon's answer.

    Args:
        kind: the union of its answers.
        program: what to start where nobody answers.

    Raises:
        UnavailableError: nobody listens there, or not to us, or not in time, or it is of another version.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(limit_s)
            connection.connect(str(path))
            connection.sendall(msgspec.json.encode(request) + b"\n")
            with connection.makefile("rb") as lines:
                line = lines.readline(LINE_BYTES)
        if not line:
            raise ConnectionResetError
        return parse(line, kind)
    except PermissionError as error:
        said = MAY_NOT_CONNECT(program=program, path=path, reason=error.strerror)
        raise UnavailableError(said) from error
    except TimeoutError as error:
        raise UnavailableError(DAEMON_SILENT(program=program, path=path, limit_s=limit_s)) from error
    except UsageError as error:
        raise UnavailableError(OTHER_VERSION(program=program)) from error
    except OSError as error:
        raise UnavailableError(DAEMON_NOT_RUNNING(program=program, path=path)) from error


def _peer(writer: asyncio.StreamWriter) -> Peer:
    connection = writer.get_extra_info("socket")
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _process, user_id, group_id = struct.unpack("3i", credentials)
    return Peer(user_id, group_id)
