# SPDX-License-Identifier: Apache-2.0
"""A TLS connection, made on the event loop without blocking it, and what went wrong in words.

Rule: whoever cancels the attempt gets the socket closed; a message names host, port and what to check next.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from typing import Final, cast

from typing_extensions import override

CONNECT_S: Final = 5.0
"""Longest wait for one address; a name may have several."""

HANDSHAKE_S: Final = 10.0


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
            self.failure = OSError(errno.EMSGSIZE, f"the broker announced a packet of {buflen} bytes")
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
    failure: OSError = OSError(errno.EADDRNOTAVAIL, "the name has no address")
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


def explain(error: OSError, host: str, port: int) -> str:
    """Why there is no connection, and what to check: one line."""
    where = f"{host}:{port}"
    match error:
        case ssl.SSLCertVerificationError():
            return (
                f"the certificate of the broker {where} was not accepted ({error.verify_message.rstrip('.')}): "
                "check broker.host, broker.ca and this machine's clock"
            )
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError() | ConnectionResetError() | BrokenPipeError():
            return f"the broker {where} closed the connection: its log says why"
        case ssl.SSLError() if "ALERT" in (error.reason or ""):
            alert = (error.reason or "").partition("ALERT_")[2].replace("_", " ").lower()
            return f"the broker {where} did not accept our certificate ({alert}): check broker.certificate and both machines' clocks, or enrol again"
        case ssl.SSLError():
            return f"no TLS 1.3 with {where} ({error.reason or error}): is this the broker's TLS port?"
        case socket.gaierror():
            return f"the name {host} was not found ({error.strerror}): check broker.host and DNS"
        case ConnectionRefusedError():
            return f"{where} refused the connection: is the broker running, and broker.port right?"
        case TimeoutError():
            return f"{where} does not answer: check the network and its firewall"
        case _:
            return f"the connection to {where} failed: {error.strerror or error}"
