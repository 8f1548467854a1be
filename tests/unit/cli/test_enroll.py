# SPDX-License-Identifier: Apache-2.0
"""Enrolment from the site's side: the key stays, only what works is installed."""

import argparse
import json
import os
import pwd
import shutil
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from fedagent.aggregator.authority import Authority
from fedagent.cli import enroll
from fedagent.errors import ConfigurationError, UsageError
from fedagent.security.certificates import key_to_pem, make_key, make_request

PASSWORD = b"correct horse"


class Site:
    """A folder like /etc/fedagent, and the command line."""

    def __init__(self, folder: Path, name: str = "clinic-a") -> None:
        folder.mkdir()
        self.folder = folder
        self.config = folder / "fedagent.toml"
        self.key, self.certificate, self.ca = (folder / each for each in ("site.key", "site.crt", "ca.crt"))
        self.rename(name)

    def rename(self, name: str) -> None:
        files = "\n".join(f'{each} = "{getattr(self, each)}"' for each in ("key", "certificate", "ca"))
        self.config.write_text(f'[site]\nname = "{name}"\n[broker]\nhost = "broker.example.org"\n{files}\n')

    def run(self, *options: str) -> int:
        parser = argparse.ArgumentParser()
        enroll.add_arguments(parser)
        return enroll.run(parser.parse_args([*options, "--config", str(self.config)]))

    def request(self) -> bytes:
        """What an administrator would send."""
        target = self.folder / "request.pem"
        self.run("--request", str(target))
        return target.read_bytes()

    def file(self, name: str, data: bytes) -> str:
        path = self.folder / name
        path.write_bytes(data)
        return str(path)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "etc")


@pytest.fixture
def centre(tmp_path: Path) -> Authority:
    authority = Authority(tmp_path / "centre")
    authority.create(PASSWORD)
    return authority


def test_a_request_makes_a_key_that_only_its_owner_reads(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    assert site.run("--request") == 0
    printed = capsys.readouterr()
    request = x509.load_pem_x509_csr(printed.out.encode())
    assert request.is_signature_valid
    assert stat.S_IMODE(site.key.stat().st_mode) == 0o600
    assert "PRIVATE" not in printed.out + printed.err
    assert "enroll --certificate" in printed.err


def test_a_second_request_is_for_the_same_key(site: Site) -> None:
    first = x509.load_pem_x509_csr(site.request()).public_key()
    assert x509.load_pem_x509_csr(site.request()).public_key() == first


def test_json_holds_request_and_fingerprint(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.run("--request", "--json")
    made = json.loads(capsys.readouterr().out)
    assert made["site"] == "clinic-a"
    assert made["key"] == str(site.key)
    assert len(made["fingerprint"]) == 64
    assert x509.load_pem_x509_csr(made["request"].encode()).is_signature_valid


def test_a_signed_certificate_is_installed(
    site: Site, centre: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    pem = centre.sign_request(site.request(), "clinic-a")
    site.run("--certificate", site.file("new.crt", pem), "--ca", str(centre.certificate_path))
    assert site.certificate.read_bytes() == pem
    assert site.ca.read_bytes() == centre.certificate_path.read_bytes()
    assert "Site clinic-a is enrolled until" in capsys.readouterr().out


def test_a_renewal_needs_the_certificate_alone(site: Site, centre: Authority) -> None:
    first = centre.sign_request(site.request(), None)
    site.run("--certificate", site.file("new.crt", first), "--ca", str(centre.certificate_path))
    second = centre.sign_request(site.request(), None)
    site.run("--certificate", site.file("new.crt", second))
    assert site.certificate.read_bytes() == second != first


def test_json_says_until_when(site: Site, centre: Authority, capsys: pytest.CaptureFixture[str]) -> None:
    pem = centre.sign_request(site.request(), None)
    capsys.readouterr()
    site.run("--certificate", site.file("new.crt", pem), "--ca", str(centre.certificate_path), "--json")
    done = json.loads(capsys.readouterr().out)
    assert done["site"] == "clinic-a"
    assert datetime.fromisoformat(done["not_after"]) > datetime.now(UTC) + timedelta(days=360)


def for_another_key(site: Site, centre: Authority) -> bytes:
    return centre.sign_request(make_request(make_key(), "clinic-a"), None)


def of_another_centre(site: Site, centre: Authority) -> bytes:
    other = Authority(site.folder / "other")
    other.create(PASSWORD)
    return other.sign_request(site.request(), None)


def expired(site: Site, centre: Authority) -> bytes:
    past = Authority(centre.certificate_path.parent, lambda: datetime.now(UTC) - timedelta(days=400))
    past.open(PASSWORD)
    return past.sign_request(site.request(), None)


def for_another_name(site: Site, centre: Authority) -> bytes:
    pem = centre.sign_request(site.request(), None)
    site.rename("clinic-b")
    return pem


def nothing(site: Site, centre: Authority) -> bytes:
    return b""


Make = Callable[[Site, Authority], bytes]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (for_another_key, "another private key"),
        (of_another_centre, "the authority did not sign"),
        (expired, "is valid only from|expired at"),
        (for_another_name, r"of 'clinic-a', but site\.name is 'clinic-b'"),
        (nothing, "cannot be used"),
    ],
)
def test_nothing_is_installed_that_would_not_work(
    site: Site, centre: Authority, make: Make, reason: str
) -> None:
    site.request()
    new = site.file("new.crt", make(site, centre))
    with pytest.raises(ConfigurationError, match=reason):
        site.run("--certificate", new, "--ca", str(centre.certificate_path))
    assert not site.certificate.exists()
    assert not site.ca.exists()


def test_a_key_that_others_can_read_is_not_used(site: Site, centre: Authority) -> None:
    site.request()
    site.key.chmod(0o640)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        site.run("--request")


@pytest.mark.parametrize("content", [b"", key_to_pem(make_key(), b"password")])
def test_a_key_that_cannot_be_read_is_kept(site: Site, content: bytes) -> None:
    site.key.write_bytes(content)
    site.key.chmod(0o600)
    with pytest.raises(ConfigurationError, match="private key"):
        site.run("--request")
    assert site.key.read_bytes() == content


def test_a_certificate_before_the_request_is_an_error_that_names_the_file(
    site: Site, centre: Authority
) -> None:
    new = site.file("new.crt", for_another_key(site, centre))
    with pytest.raises(ConfigurationError, match=r"cannot read .*site\.key"):
        site.run("--certificate", new, "--ca", str(centre.certificate_path))


def test_a_reserved_name_is_a_matter_of_configuration(site: Site) -> None:
    site.rename("aggregator")
    with pytest.raises(ConfigurationError, match=r"site\.name"):
        site.run("--request")


def test_a_ca_without_a_certificate_makes_no_sense(site: Site, centre: Authority) -> None:
    with pytest.raises(UsageError, match="--ca belongs to --certificate"):
        site.run("--request", "--ca", str(centre.certificate_path))


def test_root_hands_the_key_to_the_service(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[Path, str]] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(pwd, "getpwnam", lambda name: name)
    monkeypatch.setattr(shutil, "chown", lambda path, user: given.append((path, user)))
    site.request()
    site.request()
    assert given == [(site.key, "fedagent")]


def test_without_the_services_account_the_key_stays_ours(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> object:
        raise KeyError(name)

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(pwd, "getpwnam", missing)
    site.request()
    assert site.key.stat().st_uid == os.getuid()
