# SPDX-License-Identifier: Apache-2.0
"""The study centre's authority: what it signs, what it refuses, and what is on its disk."""

import stat
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedagent.aggregator.authority import CLOCK_SKEW, LEAF_LIFE, Authority
from fedagent.errors import ConfigurationError, FedagentError, StorageError, UsageError, WireError
from fedagent.security.certificates import Signer, Trust, key_fingerprint, key_to_pem, make_key, make_request
from fedagent.security.identity import AGGREGATOR, Identity
from fedagent.wire.topics import Role
from tests.fakes.certificates import NOW, der

PASSWORD = b"correct horse"


class Clock:
    """The authority's time."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def authority(tmp_path: Path, clock: Clock) -> Authority:
    made = Authority(tmp_path / "ca", clock)
    made.create(PASSWORD)
    return made


def trust(authority: Authority) -> Trust:
    return Trust(authority.certificate_path.read_bytes())


def load(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem)


def request(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, *names: str) -> bytes:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(attributes))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_the_authoritys_certificate_is_one_for_ten_years(authority: Authority) -> None:
    certificate = load(authority.certificate_path.read_bytes())
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    own = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    issuer = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert constraints.critical
    assert constraints.value == x509.BasicConstraints(ca=True, path_length=0)
    assert usage.critical
    assert (usage.value.key_cert_sign, usage.value.crl_sign, usage.value.digital_signature) == (
        True,
        True,
        False,
    )
    assert issuer.key_identifier == own.digest
    assert (certificate.not_valid_after_utc - NOW) / timedelta(days=365.25) == pytest.approx(10, abs=0.01)


def test_the_authoritys_key_is_encrypted_and_its_owners(authority: Authority) -> None:
    assert stat.S_IMODE(authority.key_path.stat().st_mode) == 0o600
    assert authority.key_path.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")


def test_an_authority_is_never_made_over_another(authority: Authority, tmp_path: Path) -> None:
    before = authority.key_path.read_bytes()
    with pytest.raises(UsageError, match="already"):
        Authority(tmp_path / "ca").create(PASSWORD)
    assert authority.key_path.read_bytes() == before


def test_an_authority_needs_a_password(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="password"):
        Authority(tmp_path / "ca").create(b"")
    assert not (tmp_path / "ca").exists()


def test_a_site_that_asks_gets_its_identity_for_a_year(authority: Authority) -> None:
    key = make_key()
    pem = authority.sign_request(make_request(key, "clinic-a"), None)
    signer = Signer(pem, key_to_pem(key, None))
    assert trust(authority).identify(signer.certificate, NOW) == Identity(Role.SITE, "clinic-a")
    assert load(pem).not_valid_after_utc == NOW + LEAF_LIFE
    assert load(pem).not_valid_before_utc == NOW - CLOCK_SKEW


def test_a_site_is_a_client_and_the_broker_a_server(authority: Authority) -> None:
    site = load(authority.sign_request(make_request(make_key(), "clinic-a"), "clinic-a"))
    broker = load(authority.issue_broker(["broker.example.org"], ["192.0.2.1", "2001:db8::1"]).certificate)
    purposes = [
        each.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value for each in (site, broker)
    ]
    names = broker.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(purposes[0]) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert list(purposes[1]) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert names.get_values_for_type(x509.DNSName) == ["broker.example.org"]
    assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.1", "2001:db8::1"]


def test_the_broker_can_sign_no_message(authority: Authority) -> None:
    broker = load(authority.issue_broker(["localhost"], []).certificate)
    with pytest.raises(WireError):
        trust(authority).identify(der(broker), NOW)


def test_the_aggregator_gets_its_identity_and_key(authority: Authority, tmp_path: Path) -> None:
    credential = authority.issue_aggregator()
    credential.install(tmp_path / "aggregator.crt", tmp_path / "aggregator.key")
    signer = Signer((tmp_path / "aggregator.crt").read_bytes(), (tmp_path / "aggregator.key").read_bytes())
    assert trust(authority).identify(signer.certificate, NOW) == AGGREGATOR
    assert stat.S_IMODE((tmp_path / "aggregator.key").stat().st_mode) == 0o600


def test_what_a_request_asks_for_beside_its_name_is_not_given(authority: Authority) -> None:
    key = make_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "clinic-a")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    uri = x509.SubjectAlternativeName([x509.UniformResourceIdentifier("fedagent:aggregator")])
    asked = builder.add_extension(uri, critical=False).sign(key, hashes.SHA256())
    pem = authority.sign_request(asked.public_bytes(serialization.Encoding.PEM), None)
    assert trust(authority).identify(der(load(pem)), NOW) == Identity(Role.SITE, "clinic-a")


def altered(csr: bytes) -> bytes:
    data = bytearray(x509.load_pem_x509_csr(csr).public_bytes(serialization.Encoding.DER))
    data[data.index(b"clinic-a")] ^= 1
    return x509.load_der_x509_csr(bytes(data)).public_bytes(serialization.Encoding.PEM)


REFUSED: dict[str, tuple[bytes, str | None, type[FedagentError], str]] = {
    "empty": (b"", None, UsageError, "not a certificate request"),
    "no request": (key_to_pem(make_key(), None), None, UsageError, "not a certificate request"),
    "altered": (altered(make_request(make_key(), "clinic-a")), None, UsageError, "not signed by its own key"),
    "for another name": (
        make_request(make_key(), "clinic-a"),
        "clinic-b",
        UsageError,
        "is for site 'clinic-a'",
    ),
    "without a name": (request(make_key()), None, UsageError, "0 common names"),
    "with two names": (request(make_key(), "clinic-a", "clinic-b"), None, UsageError, "2 common names"),
    "with a bad name": (request(make_key(), "Clinic A"), None, WireError, "no site name"),
    "with a reserved name": (request(make_key(), "aggregator"), None, WireError, "reserved"),
    "with the broker's name": (request(make_key(), "broker"), "broker", WireError, "reserved"),
    "of an RSA key": (request(rsa.generate_private_key(65537, 2048), "clinic-a"), None, UsageError, "P-256"),
    "of a P-384 key": (
        request(ec.generate_private_key(ec.SECP384R1()), "clinic-a"),
        None,
        UsageError,
        "P-256",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_no_certificate_is_signed_for_a_request(case: str, authority: Authority) -> None:
    csr, name, kind, reason = REFUSED[case]
    with pytest.raises(kind, match=reason):
        authority.sign_request(csr, name)
    assert authority.issued() == ()


@pytest.mark.parametrize(("hostnames", "ips"), [([], []), (["ä.example"], []), ([], ["broker.example.org"])])
def test_the_broker_needs_names_that_are_names(
    authority: Authority, hostnames: list[str], ips: list[str]
) -> None:
    with pytest.raises(UsageError):
        authority.issue_broker(hostnames, ips)


def test_every_certificate_is_recorded(authority: Authority) -> None:
    key = make_key()
    pem = authority.sign_request(make_request(key, "clinic-a"), None)
    authority.issue_aggregator()
    authority.issue_broker(["localhost"], [])
    first, *others = authority.issued()
    assert first.name == "clinic-a"
    assert first.serial == f"{load(pem).serial_number:X}"
    assert first.fingerprint == load(pem).fingerprint(hashes.SHA256()).hex()
    assert first.key_fingerprint == key_fingerprint(key.public_key())
    assert first.not_after == (NOW + LEAF_LIFE).isoformat()
    assert [each.name for each in others] == ["aggregator", "broker"]


def test_nothing_is_issued_that_cannot_be_recorded(authority: Authority) -> None:
    authority.issued_path.write_text("damaged\n")
    with pytest.raises(StorageError, match=r"issued\.jsonl"):
        authority.sign_request(make_request(make_key(), "clinic-a"), None)


def test_an_authority_opens_with_its_password_only(
    authority: Authority, tmp_path: Path, clock: Clock
) -> None:
    again = Authority(tmp_path / "ca", clock)
    with pytest.raises(ConfigurationError, match="private key cannot be read"):
        again.open(b"wrong")
    again.open(PASSWORD)
    again.sign_request(make_request(make_key(), "clinic-a"), None)
    assert [each.name for each in authority.issued()] == ["clinic-a"]


def test_a_closed_authority_signs_nothing(authority: Authority, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not open"):
        Authority(tmp_path / "ca").sign_request(make_request(make_key(), "clinic-a"), None)


def test_a_folder_without_an_authority_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="fedaggregator init"):
        Authority(tmp_path).open(PASSWORD)


def test_a_damaged_authority_does_not_open(authority: Authority, tmp_path: Path) -> None:
    authority.certificate_path.write_bytes(b"damaged")
    with pytest.raises(ConfigurationError, match="no certificate"):
        authority.open(PASSWORD)
    other = Authority(tmp_path / "other")
    other.create(PASSWORD)
    authority.certificate_path.write_bytes(other.certificate_path.read_bytes())
    with pytest.raises(ConfigurationError, match="do not belong together"):
        authority.open(PASSWORD)


def test_no_certificate_outlives_the_authority(authority: Authority, clock: Clock) -> None:
    end = load(authority.certificate_path.read_bytes()).not_valid_after_utc
    clock.now = end - timedelta(days=10)
    assert load(authority.issue_aggregator().certificate).not_valid_after_utc == end
