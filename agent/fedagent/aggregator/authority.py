# SPDX-License-Identifier: Apache-2.0
"""The study centre's certificate authority: one folder with ca.crt, the encrypted ca.key and issued.jsonl.

Rule: a site's private key never comes here, only its request; what was issued is on disk before it is handed out.
"""

import ipaddress
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedagent.conditions.aggregator import (
    AUTHORITY_CLOSED,
    AUTHORITY_DAMAGED,
    AUTHORITY_EXISTS,
    AUTHORITY_MIXED,
    BROKER_NAME_MISSING,
    NO_AUTHORITY,
    NO_BROKER_NAME,
    NO_PASSWORD,
    NOT_A_REQUEST,
    REQUEST_ALTERED,
    REQUEST_FOR_ANOTHER,
    REQUEST_WITH_OTHER_KEY,
    REQUEST_WITHOUT_ONE_NAME,
)
from fedagent.conditions.files import RESTORE
from fedagent.errors import ConfigurationError, StorageError, UsageError
from fedagent.security.certificates import (
    alternative_name,
    key_fingerprint,
    key_to_pem,
    load_key,
    make_key,
    subject,
)
from fedagent.security.identity import AGGREGATOR, AUTHORITY, Identity
from fedagent.storage.files import make_private_folder, write_atomically
from fedagent.wire.topics import Role

AUTHORITY_LIFE: Final = timedelta(days=3652)
LEAF_LIFE: Final = timedelta(days=365)
CLOCK_SKEW: Final = timedelta(hours=1)
"""Certificates begin this much earlier, for machines whose clock is behind ours."""

BROKER: Final = "broker"


class Issued(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One line of issued.jsonl.

    Attributes:
        serial: hexadecimal, as ``openssl x509 -serial`` prints it.
        fingerprint: SHA-256 of the certificate, hexadecimal.
        key_fingerprint: of its public key: what ``fedagent enroll --request`` showed to the site's administrator.
        not_after: ISO 8601.
    """

    serial: str
    name: str
    fingerprint: str
    key_fingerprint: str
    not_after: str


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate with the private key that was made for it, both PEM."""

    certificate: bytes
    key: bytes

    def install(self, certificate: Path, key: Path) -> None:
        """Writes both, the key (which only its owner may read) first.

        Raises:
            StorageError: no space, no permission.
        """
        write_atomically(key, self.key, mode=0o600)
        write_atomically(certificate, self.certificate, mode=0o644)


class Authority:
    """Signs certificates, once it was created or opened."""

    def __init__(self, folder: Path, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Touches nothing yet.

        Args:
            clock: the time, with its zone.
        """
        self.certificate_path: Final = folder / "ca.crt"
        self.key_path: Final = folder / "ca.key"
        self.issued_path: Final = folder / "issued.jsonl"
        self._folder = folder
        self._clock = clock
        self._opened: tuple[ec.EllipticCurvePrivateKey, x509.Certificate] | None = None

    def create(self, password: bytes) -> None:
        """Makes the authority; it is open then. A key alone is what an earlier try left, and is made anew.

        Raises:
            UsageError: there is one already, or the password is empty.
            StorageError: the folder cannot be written.
        """
        if self.certificate_path.exists() or self.issued_path.exists():
            raise UsageError(AUTHORITY_EXISTS(path=self._folder))
        if not password:
            raise UsageError(NO_PASSWORD())
        key = make_key()
        certificate = _self_signed(key, self._clock())
        make_private_folder(self._folder)
        write_atomically(self.key_path, key_to_pem(key, password), mode=0o600)
        write_atomically(self.certificate_path, _pem(certificate), mode=0o644)
        self._opened = (key, certificate)

    def open(self, password: bytes) -> None:
        """Decrypts the key.

        Raises:
            ConfigurationError: no authority here, wrong password, or the files do not belong together.
        """
        try:
            certificate = x509.load_pem_x509_certificate(self.certificate_path.read_bytes())
            key = load_key(self.key_path.read_bytes(), password)
        except OSError as error:
            raise ConfigurationError(NO_AUTHORITY(path=self._folder, reason=error.strerror)) from error
        except ValueError as error:
            raise ConfigurationError(AUTHORITY_DAMAGED(path=self.certificate_path)) from error
        if certificate.public_key() != key.public_key():
            raise ConfigurationError(AUTHORITY_MIXED(path=self._folder))
        self._opened = (key, certificate)

    def sign_request(self, csr_pem: bytes, name: str | None) -> bytes:
        """The certificate (PEM, a year) of the site that made this request.

        Args:
            name: what the site must be called; None takes the request's word for it. Compare the fingerprint of
                its key with the site's administrator either way.

        Raises:
            UsageError: not a request signed by its own P-256 key, or for another name.
            WireError: the name is none, or reserved.
            StorageError: it could not be recorded, and so was not issued.
        """
        request, asked = _read_request(csr_pem)
        if name is not None and asked != name:
            raise UsageError(REQUEST_FOR_ANOTHER(asked=asked, name=name))
        identity = Identity(Role.SITE, asked)
        key = request.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise UsageError(REQUEST_WITH_OTHER_KEY())
        builder = self._leaf(identity.name, key, ExtendedKeyUsageOID.CLIENT_AUTH)
        return self._issue(builder.add_extension(alternative_name(identity), critical=False), identity.name)

    def issue_aggregator(self) -> Credential:
        """A new key and certificate for the aggregator.

        Raises:
            StorageError: it could not be recorded.
        """
        key = make_key()
        builder = self._leaf(AGGREGATOR.name, key.public_key(), ExtendedKeyUsageOID.CLIENT_AUTH)
        certificate = self._issue(
            builder.add_extension(alternative_name(AGGREGATOR), critical=False), AGGREGATOR.name
        )
        return Credential(certificate=certificate, key=key_to_pem(key, None))

    def issue_broker(self, hostnames: Sequence[str], ips: Sequence[str]) -> Credential:
        """A new key and server certificate for the broker: no fedagent identity, it can sign no message.

        Raises:
            UsageError: no name at all, or one that is none.
            StorageError: it could not be recorded.
        """
        try:
            names: list[x509.GeneralName] = [x509.DNSName(each) for each in hostnames]
            names += [x509.IPAddress(ipaddress.ip_address(each)) for each in ips]
        except ValueError as error:
            raise UsageError(NO_BROKER_NAME(reason=error)) from error
        if not names:
            raise UsageError(BROKER_NAME_MISSING())
        key = make_key()
        builder = self._leaf(BROKER, key.public_key(), ExtendedKeyUsageOID.SERVER_AUTH)
        certificate = self._issue(
            builder.add_extension(x509.SubjectAlternativeName(names), critical=False), BROKER
        )
        return Credential(certificate=certificate, key=key_to_pem(key, None))

    def issued(self) -> tuple[Issued, ...]:
        """Every certificate that this authority signed, in order.

        Raises:
            StorageError: the record is damaged or cannot be read.
        """
        try:
            lines = self.issued_path.read_bytes().splitlines() if self.issued_path.exists() else []
            return tuple(msgspec.json.decode(line, type=Issued) for line in lines)
        except (OSError, msgspec.DecodeError) as error:
            raise StorageError(RESTORE(path=self.issued_path, reason=error)) from error

    def _key_and_certificate(self) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        if self._opened is None:
            raise UsageError(AUTHORITY_CLOSED(path=self._folder))
        return self._opened

    def _leaf(
        self, name: str, key: ec.EllipticCurvePublicKey, purpose: x509.ObjectIdentifier
    ) -> x509.CertificateBuilder:
        """A certificate of RFC 5280 section 4.2 that lacks its alternative name only."""
        own, authority = self._key_and_certificate()
        now = self._clock()
        return (
            x509.CertificateBuilder()
            .subject_name(subject(name))
            .issuer_name(authority.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - CLOCK_SKEW)
            .not_valid_after(min(now + LEAF_LIFE, authority.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(own.public_key()), critical=False
            )
        )

    def _issue(self, builder: x509.CertificateBuilder, name: str) -> bytes:
        key, _ = self._key_and_certificate()
        certificate = builder.sign(key, hashes.SHA256())
        entry = Issued(
            serial=f"{certificate.serial_number:X}",
            name=name,
            fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
            key_fingerprint=key_fingerprint(certificate.public_key()),
            not_after=certificate.not_valid_after_utc.isoformat(),
        )
        lines = [msgspec.json.encode(each) + b"\n" for each in (*self.issued(), entry)]
        write_atomically(self.issued_path, b"".join(lines))
        return _pem(certificate)


def _self_signed(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    public = key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject(AUTHORITY.name))
        .issuer_name(subject(AUTHORITY.name))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .add_extension(alternative_name(AUTHORITY), critical=False)
        .sign(key, hashes.SHA256())
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    """An authority signs certificates and revocation lists and nothing else, a leaf signs everything but those."""
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _read_request(csr_pem: bytes) -> tuple[x509.CertificateSigningRequest, str]:
    """The request and its one common name; nothing else that it asks for counts."""
    try:
        request = x509.load_pem_x509_csr(csr_pem)
        signed = request.is_signature_valid
        names = [str(each.value) for each in request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageError(NOT_A_REQUEST()) from error
    if not signed:
        raise UsageError(REQUEST_ALTERED())
    if len(names) != 1:
        raise UsageError(REQUEST_WITHOUT_ONE_NAME(count=len(names)))
    return request, names[0]


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
