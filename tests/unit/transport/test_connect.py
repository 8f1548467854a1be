# SPDX-License-Identifier: Apache-2.0
"""Why there is no connection, in words."""

import errno
import socket
import ssl

import pytest

from fedagent.conditions.condition import Said
from fedagent.transport.connect import PacketTooLongError, Stream, explain, open_stream
from tests.fakes.loop import in_loop

CLOSED = "the broker h:1 closed the connection; read in the broker's log why"


def failed(kind: type[ssl.SSLError], **attributes: str) -> ssl.SSLError:
    error = kind(1, "an OpenSSL text")
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        pytest.param(
            ConnectionRefusedError(),
            "FA4107",
            "h:1 refused the connection; check that the broker runs and broker.port is its port",
            id="refused",
        ),
        pytest.param(
            TimeoutError(),
            "FA4108",
            "h:1 does not answer; check the network and its firewall",
            id="silent",
        ),
        pytest.param(
            socket.gaierror(-2, "Name or service not known"),
            "FA4106",
            "the name h was not found (Name or service not known); check broker.host and DNS",
            id="name",
        ),
        pytest.param(ConnectionResetError(), "FA4104", CLOSED, id="reset"),
        pytest.param(BrokenPipeError(), "FA4104", CLOSED, id="pipe"),
        pytest.param(ssl.SSLEOFError(8, "EOF"), "FA4104", CLOSED, id="eof"),
        pytest.param(
            OSError(errno.ENETUNREACH, "Network is unreachable"),
            "FA4109",
            "the connection to h:1 failed: Network is unreachable; check this machine's network",
            id="network",
        ),
        pytest.param(
            PacketTooLongError(1001, 1000),
            "FA4110",
            "the broker h:1 announced a packet of 1001 bytes, allowed are 1000; "
            "upgrade the broker: it ignores our maximum packet size",
            id="packet",
        ),
        pytest.param(
            failed(ssl.SSLCertVerificationError, verify_message="certificate has expired."),
            "FA4102",
            "the certificate of the broker h:1 was not accepted (certificate has expired); "
            "check broker.host, broker.ca and this machine's clock",
            id="theirs",
        ),
        pytest.param(
            failed(ssl.SSLError, reason="TLSV13_ALERT_CERTIFICATE_REQUIRED"),
            "FA4103",
            "the broker h:1 did not accept our certificate (certificate required); "
            "check broker.certificate and both machines' clocks, or enroll again",
            id="ours",
        ),
        pytest.param(
            failed(ssl.SSLError, reason="WRONG_VERSION_NUMBER"),
            "FA4105",
            "no TLS 1.3 with h:1: WRONG_VERSION_NUMBER; check that broker.port is the broker's TLS port",
            id="no tls",
        ),
    ],
)
def test_a_failure_is_explained(error: OSError, code: str, said: str) -> None:
    assert explain(error, "h", 1) == Said(code, said)


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
            with pytest.raises(PacketTooLongError) as raised:
                stream.recv(1001)
            assert (raised.value.size, raised.value.limit) == (1001, 1000)
            assert stream.failure is raised.value
