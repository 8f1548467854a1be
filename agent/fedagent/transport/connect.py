# SPDX-License-Identifier: Apache-2.0
"""A TLS connection, made on the event loop without blocking it, and what went wrong in words.

Rule: whoever cancels the attempt gets the socket closed; a message names host, port and what to check next.
"""

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Callable
from typing import Final, cast

from typing_extensions import override

from fedagent.conditions.broker import (
    BROKER_CLOSED,
    BROKER_NOT_TRUSTED,
    BROKER_SILENT,
    CONNECTION_FAILED,
    CONNECTION_REFUSED,
    NAME_NOT_FOUND,
    NO_TLS,
    PACKET_TOO_LONG,
    WE_ARE_NOT_TRUSTED,
)
from fedagent.conditions.condition import Said

CONNECT_S: Final = 5.0
"""Longest wait for one address; a name may have several."""

HANDSHAKE_S: Final = 10.0


class PacketTooLongError(OSError):
    """The broker announced a longer packet than we allowed; nothing of it was read."""

    def __init__(self, size: int, limit: int) -> None:
        """So many bytes, of so many that we take."""
        super().__init__(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
        self.size, self.limit = size, limit


class Stream(ssl.SSLSocket):
    """A TLS socket that remembers why it failed, and never reads a packet above the limit.

    paho asks for the rest of a packet in one call, so a longer request means that the broker announced a longer
    packet than we allowed in CONNECT: it is refused before a byte of it takes memory.
    """

    limit_bytes: int = 2**28
    failure: OSError | None = None

    @override
    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """See ``socket.recv``."""
        if buflen > self.limit_bytes:
            self.failure = PacketTooLongError(buflen, self.limit_bytes)
            raise self.failure
        try:
            return super().recv(buflen, flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except OSError as error:
            self.failure = error
            raise

    @override
    def send(self, data: bytes, flags: int = 0) -> int:  # type: ignore[override] # narrower than a buffer: paho's
        """See ``socket.send``. A reset hides the alert that came before it, so that is read first."""
        try:
            return super().send(data, flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except OSError as error:
            self.failure = self._alert() or error
            raise

    def _alert(self) -> OSError | None:
        try:
            super().recv(1)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        except ssl.SSLError as error:
            return error
        except OSError:
            return None
        return None


async def open_stream(host: str, port: int, context: ssl.SSLContext) -> Stream:
    """A connected non-blocking socket after its handshake; the first of the name's addresses that answers.

    Raises:
        OSError: as the system or OpenSSL says it; ``explain`` puts it into words.
    """
    context.sslsocket_class = Stream
    failure: OSError = OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    for family, kind, protocol, _, address in await _addresses(host, port):
        try:
            return await _open_address((family, kind, protocol), address, host, context)
        except ssl.SSLError:
            raise  # somebody answered, and it was not who it must be: the next address would be a guess
        except OSError as error:
            failure = error
    raise failure


async def _addresses(host: str, port: int) -> list[tuple[int, int, int, str, tuple[object, ...]]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [
        (int(family), int(kind), protocol, name, address) for family, kind, protocol, name, address in found
    ]


async def _open_address(
    kind: tuple[int, int, int], address: tuple[object, ...], host: str, context: ssl.SSLContext
) -> Stream:
    plain = socket.socket(*kind)
    try:
        plain.setblocking(False)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        async with asyncio.timeout(CONNECT_S):
            await asyncio.get_running_loop().sock_connect(plain, address)
        wrapped = context.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
        stream = cast("Stream", wrapped)  # its class is the context's sslsocket_class
    except BaseException:  # not handled: a cancelled attempt leaves no socket either
        plain.close()
        raise
    try:
        async with asyncio.timeout(HANDSHAKE_S):
            await _handshake(stream)
    except BaseException:
        stream.close()
        raise
    return stream


async def _handshake(stream: Stream) -> None:
    loop = asyncio.get_running_loop()
    while True:
        try:
            stream.do_handshake()
            return
        except ssl.SSLWantReadError:
            await _wait(stream, loop.add_reader, loop.remove_reader)
        except ssl.SSLWantWriteError:
            await _wait(stream, loop.add_writer, loop.remove_writer)


async def _wait(stream: Stream, add: Callable[..., None], remove: Callable[[int], bool]) -> None:
    ready = asyncio.Event()
    add(stream.fileno(), ready.set)
    try:
        await ready.wait()
    finally:
        remove(stream.fileno())


def explain(error: OSError, host: str, port: int) -> Said:
    """Why there is no connection, and what to check."""
    where = f"{host}:{port}"
    match error:
        case ssl.SSLError():
            return _explain_tls(error, where)
        case PacketTooLongError():
            return PACKET_TOO_LONG(where=where, bytes=error.size, limit=error.limit)
        case ConnectionResetError() | BrokenPipeError():
            return BROKER_CLOSED(where=where)
        case socket.gaierror():
            return NAME_NOT_FOUND(host=host, reason=error.strerror)
        case ConnectionRefusedError():
            return CONNECTION_REFUSED(where=where)
        case TimeoutError():
            return BROKER_SILENT(where=where)
        case _:
            return CONNECTION_FAILED(where=where, reason=error.strerror or error)


def _explain_tls(error: ssl.SSLError, where: str) -> Said:
    match error:
        case ssl.SSLCertVerificationError():
            return BROKER_NOT_TRUSTED(where=where, reason=error.verify_message.rstrip("."))
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError():
            return BROKER_CLOSED(where=where)
        case _ if "ALERT" in (error.reason or ""):
            alert = error.reason.partition("ALERT_")[2].replace("_", " ").lower()
            return WE_ARE_NOT_TRUSTED(where=where, reason=alert)
        case _:
            return NO_TLS(where=where, reason=error.reason or error)
