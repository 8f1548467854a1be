# SPDX-License-Identifier: Apache-2.0
"""Why there is no connection, in words."""

import errno
import socket
import ssl

import pytest

from fedagent.transport.connect import Stream, explain, open_stream
from tests.fakes.loop import in_loop


def failed(kind: type[ssl.SSLError], **attributes: str) -> ssl.SSLError:
    error = kind(1, "an OpenSSL text")
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        pytest.param(ConnectionRefusedError(), "h:1 refused the connection", id="refused"),
        pytest.param(TimeoutError(), "h:1 does not answer", id="silent"),
        pytest.param(socket.gaierror(-2, "Name or service not known"), "the name h was not found", id="name"),
        pytest.param(ConnectionResetError(), "closed the connection", id="reset"),
        pytest.param(ssl.SSLEOFError(8, "EOF"), "closed the connection", id="eof"),
        pytest.param(
            OSError(errno.ENETUNREACH, "Network is unreachable"), "Network is unreachable", id="network"
        ),
        pytest.param(
            failed(ssl.SSLCertVerificationError, verify_message="certificate has expired"),
            "certificate of the broker h:1 was not accepted (certificate has expired)",
            id="theirs",
        ),
        pytest.param(
            failed(ssl.SSLError, reason="TLSV13_ALERT_CERTIFICATE_REQUIRED"),
            "did not accept our certificate (certificate required)",
            id="ours",
        ),
        pytest.param(failed(ssl.SSLError, reason="WRONG_VERSION_NUMBER"), "no TLS 1.3 with h:1", id="no tls"),
    ],
)
def test_a_failure_is_explained(error: OSError, said: str) -> None:
    assert said in explain(error, "h", 1)


@in_loop
async def test_every_address_of_a_name_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    async def refuse(_: object, address: tuple[object, ...], *__: object) -> Stream:
        tried.append(address[0])
        raise ConnectionRefusedError

    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"192.0.2.{last}", 1)) for last in (1, 2)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    monkeypatch.setattr("fedagent.transport.connect._open_address", refuse)
    with pytest.raises(ConnectionRefusedError):
        await open_stream("broker.example", 1, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    assert tried == ["192.0.2.1", "192.0.2.2"]


def test_a_packet_above_the_limit_is_refused_before_it_is_read() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.sslsocket_class = Stream
        with context.wrap_socket(ours, do_handshake_on_connect=False) as stream:
            assert isinstance(stream, Stream)
            stream.limit_bytes = 1000
            with pytest.raises(OSError, match="1001 bytes"):
                stream.recv(1001)
            assert stream.failure
