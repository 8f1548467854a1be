# SPDX-License-Identifier: Apache-2.0
"""From an empty folder to mutual TLS: the certificates as OpenSSL sees them, not as we do."""

import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest

from fedagent.aggregator.authority import Authority
from fedagent.cli import enroll
from fedagent.core.settings import BrokerSettings, Settings, SiteSettings


class Federation:
    """A study centre's folder and a site's, enrolled."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder / "centre")
        self.authority.create(b"correct horse")
        self.ca = self.authority.certificate_path
        self.broker = (folder / "broker.crt", folder / "broker.key")
        self.authority.issue_broker(["localhost"], ["127.0.0.1"]).install(*self.broker)
        self.site = (folder / "site.crt", folder / "site.key")
        certificate, key = map(str, self.site)
        self.settings = Settings(
            site=SiteSettings(name="clinic-a"),
            broker=BrokerSettings(
                host="localhost", ca=str(folder / "ca.crt"), certificate=certificate, key=key
            ),
        )
        pem = self.authority.sign_request(enroll.request(self.settings).request.encode(), "clinic-a")
        (folder / "signed.crt").write_bytes(pem)
        enroll.install(self.settings, folder / "signed.crt", self.ca)


@pytest.fixture
def federation(tmp_path: Path) -> Federation:
    return Federation(tmp_path)


@pytest.mark.parametrize(("who", "purpose"), [("site", "sslclient"), ("broker", "sslserver")])
def test_openssl_accepts_the_chain_for_its_purpose_only(
    federation: Federation, who: str, purpose: str
) -> None:
    certificate = federation.site[0] if who == "site" else federation.broker[0]
    other = {"sslclient": "sslserver", "sslserver": "sslclient"}[purpose]
    verify = ["openssl", "verify", "-x509_strict", "-CAfile", str(federation.ca), "-purpose"]
    good = subprocess.run([*verify, purpose, str(certificate)], capture_output=True, text=True, check=False)
    assert good.returncode == 0, good.stderr
    wrong = subprocess.run([*verify, other, str(certificate)], capture_output=True, text=True, check=False)
    assert wrong.returncode != 0


def context(federation: Federation, *, server: bool) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.load_verify_locations(federation.ca)
    made.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    made.verify_mode = ssl.CERT_REQUIRED
    made.load_cert_chain(*(federation.broker if server else federation.site))
    return made


def test_site_and_broker_know_each_other_over_tls(federation: Federation) -> None:
    left, right = socket.socketpair()
    left.settimeout(10)
    right.settimeout(10)
    seen: list[object] = []

    def serve() -> None:
        with context(federation, server=True).wrap_socket(right, server_side=True) as broker:
            seen.append(broker.getpeercert())
            broker.sendall(b"hello")

    broker = threading.Thread(target=serve)
    broker.start()
    with context(federation, server=False).wrap_socket(left, server_hostname="localhost") as site:
        assert site.recv(5) == b"hello"
        assert site.version() == "TLSv1.3"
    broker.join(10)
    (peer,) = seen
    assert isinstance(peer, dict)
    assert peer["subject"] == ((("commonName", "clinic-a"),),)
    assert peer["subjectAltName"] == (("URI", "fedagent:site/clinic-a"),)
