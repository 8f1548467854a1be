# SPDX-License-Identifier: Apache-2.0
"""An authority in memory that issues whatever a test asks for, also what a real one never would."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID

from fedagent.security.certificates import Signer, Trust, alternative_name, key_to_pem, make_key, subject
from fedagent.security.identity import AGGREGATOR, AUTHORITY, Identity
from fedagent.wire.topics import Role

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LIFE = timedelta(days=30)

Extension = tuple[x509.ExtensionType, bool]


def usage(*, signs: bool = True, authority: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def leaf_extensions(identity: Identity) -> list[Extension]:
    """What a good leaf carries; a test changes one of them."""
    return [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (usage(), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False),
        (alternative_name(identity), False),
    ]


def authority_extensions() -> list[Extension]:
    return [
        (x509.BasicConstraints(ca=True, path_length=0), True),
        (usage(signs=False, authority=True), True),
        (alternative_name(AUTHORITY), False),
    ]


class FakeAuthority:
    """Its key, its certificate, and leaves by it."""

    def __init__(
        self,
        *,
        begin: datetime = NOW - LIFE,
        end: datetime = NOW + LIFE,
        extensions: Sequence[Extension] | None = None,
        key: ec.EllipticCurvePrivateKey | None = None,
    ) -> None:
        self.key = key or make_key()
        self.name = subject(AUTHORITY.name)
        made = authority_extensions() if extensions is None else extensions
        self.certificate = self.issue(self.key.public_key(), self.name, made, begin=begin, end=end)
        self.pem = pem(self.certificate)

    @property
    def trust(self) -> Trust:
        return Trust(self.pem)

    def issue(
        self,
        key: CertificatePublicKeyTypes,
        name: x509.Name,
        extensions: Sequence[Extension],
        *,
        begin: datetime = NOW - timedelta(days=1),
        end: datetime = NOW + timedelta(days=1),
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(end)
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(self.key, hashes.SHA256())

    def signer(self, identity: Identity) -> Signer:
        """The holder of a good certificate of that identity."""
        key = make_key()
        leaf = self.issue(key.public_key(), subject(identity.name), leaf_extensions(identity))
        return Signer(pem(leaf), key_to_pem(key, None))

    def site(self, name: str = "clinic-a") -> Signer:
        return self.signer(Identity(Role.SITE, name))

    def aggregator(self) -> Signer:
        return self.signer(AGGREGATOR)


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def public_key_of(certificate_der: bytes) -> ec.EllipticCurvePublicKey:
    key = x509.load_der_x509_certificate(certificate_der).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key
