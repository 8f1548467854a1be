# SPDX-License-Identifier: Apache-2.0
"""Keys, requests and certificates: ECDSA P-256 throughout (FIPS 186-5; TPMs and HSMs hold such keys).

Rule: a certificate means something only after ``Trust.identify``; the time is passed in, and every refusal has a
reason. A peer's bytes that are wrong raise ``WireError``, an administrator's file ``ConfigurationError``.
"""

import hashlib
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

from fedagent.conditions.condition import Condition
from fedagent.conditions.messages import (
    AUTHORITY_AS_SENDER,
    AUTHORITY_EXPIRED,
    AUTHORITY_NOT_YET_VALID,
    AUTHORITY_SIGNS_NO_MESSAGES,
    CERTIFICATE_EXPIRED,
    CERTIFICATE_NOT_CANONICAL,
    CERTIFICATE_NOT_YET_VALID,
    CERTIFICATE_TOO_LONG,
    CERTIFICATE_UNREADABLE,
    NO_ALTERNATIVE_NAME,
    NO_PURPOSE,
    NOT_A_CLIENT,
    NOT_ONE_IDENTITY,
    NOT_SIGNED_BY_AUTHORITY,
    OTHER_AUTHORITY,
    OTHER_COMMON_NAME,
    UNKNOWN_EXTENSION,
    WRONG_KEY_KIND,
)
from fedagent.conditions.settings import (
    KEY_UNREADABLE,
    NO_AUTHORITY_CERTIFICATE,
    NOT_AN_AUTHORITY,
    OTHER_PRIVATE_KEY,
    OUR_CERTIFICATE_UNUSABLE,
    WRONG_PRIVATE_KEY,
)
from fedagent.errors import ConfigurationError, WireError
from fedagent.security.identity import SCHEME, Identity, parse_uri, uri
from fedagent.wire.topics import Role

CERTIFICATE_BYTES: Final = 4096
"""Longest certificate that is looked at; ours have about 700 bytes."""

# RFC 6979: no random number to get wrong, and the same message is the same bytes when it is sent again.
_SIGNATURE: Final = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)

_UNDERSTOOD: Final = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    }
)
_UNREADABLE: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


# --- keys and requests ------------------------------------------------------------------------------------------


def make_key() -> ec.EllipticCurvePrivateKey:
    """A new P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def key_to_pem(key: ec.EllipticCurvePrivateKey, password: bytes | None) -> bytes:
    """The key as PKCS#8 in PEM (RFC 5958), encrypted where a password is given."""
    protection = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)


def load_key(pem: bytes, password: bytes | None) -> ec.EllipticCurvePrivateKey:
    """The P-256 key in this PEM.

    Raises:
        ConfigurationError: not a key, another kind of key, or the password does not open it.
    """
    try:
        key = serialization.load_pem_private_key(pem, password)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(KEY_UNREADABLE(reason=_first_line(error))) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not _is_p256(key.public_key()):
        raise ConfigurationError(WRONG_PRIVATE_KEY())
    return key


def key_fingerprint(key: CertificatePublicKeyTypes) -> str:
    """SHA-256 of the public key (SubjectPublicKeyInfo, DER), as two people compare it over the telephone."""
    public = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(public).hexdigest()


def make_request(key: ec.EllipticCurvePrivateKey, name: str) -> bytes:
    """A certificate signing request (PKCS#10, RFC 2986) of the site with that name, in PEM.

    Raises:
        WireError: no site may have that name.
    """
    identity = Identity(Role.SITE, name)
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject(name))
    builder = builder.add_extension(alternative_name(identity), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def subject(name: str) -> x509.Name:
    """The distinguished name of one of our certificates: nothing but the common name, which the broker reads."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def alternative_name(identity: Identity) -> x509.SubjectAlternativeName:
    """The subject alternative name that makes a certificate's holder that identity."""
    return x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri(identity))])


# --- certificates -----------------------------------------------------------------------------------------------


class Trust:
    """The one authority whose certificates count."""

    def __init__(self, ca_pem: bytes) -> None:
        """Reads the authority's certificate.

        Raises:
            ConfigurationError: not exactly one certificate of an authority with a P-256 key.
        """
        try:
            (self.authority,) = x509.load_pem_x509_certificates(ca_pem)
            self.authority.verify_directly_issued_by(self.authority)
            constraints = self.authority.extensions.get_extension_for_class(x509.BasicConstraints).value
            usage = self.authority.extensions.get_extension_for_class(x509.KeyUsage).value
        except (*_UNREADABLE, InvalidSignature, x509.ExtensionNotFound) as error:
            raise ConfigurationError(NO_AUTHORITY_CERTIFICATE(reason=_first_line(error))) from error
        if not (constraints.ca and usage.key_cert_sign and _is_p256(self.authority.public_key())):
            raise ConfigurationError(NOT_AN_AUTHORITY())

    def identify(self, certificate_der: bytes, now: datetime) -> Identity:
        """Who holds this certificate; RFC 5280 section 6 for a path of one.

        Args:
            now: with its time zone.

        Raises:
            WireError: why it proves nothing.
        """
        if len(certificate_der) > CERTIFICATE_BYTES:
            raise WireError(CERTIFICATE_TOO_LONG(bytes=len(certificate_der)), "certificate")
        try:
            certificate = x509.load_der_x509_certificate(certificate_der)
            if (
                certificate_der[-len(certificate.signature) - 1] != 0
            ):  # unused bits, which the signature cannot cover
                raise WireError(CERTIFICATE_NOT_CANONICAL(), "certificate")
            self._check_issuer(certificate)
            _check_validity(self.authority, now, AUTHORITY_NOT_YET_VALID, AUTHORITY_EXPIRED)
            _check_validity(certificate, now, CERTIFICATE_NOT_YET_VALID, CERTIFICATE_EXPIRED)
            _check_leaf(certificate)
            identity = identity_of(certificate)
        except _UNREADABLE as error:
            raise WireError(CERTIFICATE_UNREADABLE(reason=_first_line(error)), "certificate") from error
        if identity.role is Role.CA:
            raise WireError(AUTHORITY_SIGNS_NO_MESSAGES(), "certificate")
        return identity

    def _check_issuer(self, certificate: x509.Certificate) -> None:
        if certificate.issuer != self.authority.subject:
            raise WireError(OTHER_AUTHORITY(), "certificate")
        try:
            certificate.verify_directly_issued_by(self.authority)
        except InvalidSignature as error:
            raise WireError(NOT_SIGNED_BY_AUTHORITY(), "certificate") from error


def identity_of(certificate: x509.Certificate) -> Identity:
    """Whom the certificate names: its one fedagent URI, equal to its one common name. Believe only a trusted one.

    Raises:
        WireError: none or several such names, or they differ.
        ValueError: the names cannot be parsed.
    """
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound as error:
        raise WireError(NO_ALTERNATIVE_NAME(), "certificate") from error
    ours = [
        text for text in names.get_values_for_type(x509.UniformResourceIdentifier) if text.startswith(SCHEME)
    ]
    if len(ours) != 1:
        raise WireError(NOT_ONE_IDENTITY(count=len(ours)), "certificate")
    identity = parse_uri(ours[0])
    common = [
        attribute.value for attribute in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    ]
    if common != [identity.name]:
        raise WireError(OTHER_COMMON_NAME(name=identity.name), "certificate")
    return identity


def _check_validity(certificate: x509.Certificate, now: datetime, early: Condition, late: Condition) -> None:
    if now < certificate.not_valid_before_utc:
        begin = certificate.not_valid_before_utc.isoformat()
        raise WireError(early(begin=begin, now=now.isoformat()), "certificate")
    if now > certificate.not_valid_after_utc:
        end = certificate.not_valid_after_utc.isoformat()
        raise WireError(late(end=end, now=now.isoformat()), "certificate")


def _check_leaf(certificate: x509.Certificate) -> None:
    """It may sign messages as a client, may not sign certificates, and asks nothing that we do not understand."""
    extensions = certificate.extensions
    unknown = [each.oid.dotted_string for each in extensions if each.critical and each.oid not in _UNDERSTOOD]
    if unknown:
        raise WireError(UNKNOWN_EXTENSION(extension=unknown[0]), "certificate")
    try:
        constraints = extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
        purposes = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound as error:
        raise WireError(NO_PURPOSE(reason=error), "certificate") from error
    if constraints.ca or usage.key_cert_sign:
        raise WireError(AUTHORITY_AS_SENDER(), "certificate")
    if not usage.digital_signature or ExtendedKeyUsageOID.CLIENT_AUTH not in purposes:
        raise WireError(NOT_A_CLIENT(), "certificate")
    if not _is_p256(certificate.public_key()):
        raise WireError(WRONG_KEY_KIND(), "certificate")


# --- signatures -------------------------------------------------------------------------------------------------


class Signer:
    """A certificate with its private key."""

    def __init__(self, certificate_pem: bytes, key_pem: bytes) -> None:
        """Reads both.

        Raises:
            ConfigurationError: unreadable, or they do not belong together.
        """
        self._key = load_key(key_pem, None)
        try:
            certificate = x509.load_pem_x509_certificate(certificate_pem)
            self.identity: Identity = identity_of(certificate)
            fits = certificate.public_key() == self._key.public_key()
        except (*_UNREADABLE, WireError) as error:
            raise ConfigurationError(OUR_CERTIFICATE_UNUSABLE(reason=_first_line(error))) from error
        if not fits:
            raise ConfigurationError(OTHER_PRIVATE_KEY())
        self.certificate: bytes = certificate.public_bytes(serialization.Encoding.DER)

    def sign(self, data: bytes) -> bytes:
        """The ECDSA signature (DER) over SHA-256 of the data; the same data give the same signature (RFC 6979)."""
        return self._key.sign(data, _SIGNATURE)


def is_signed(data: bytes, signature: bytes, certificate_der: bytes) -> bool:
    """Whether the signature over the data is by the key of this certificate, which ``Trust.identify`` accepted."""
    key = x509.load_der_x509_certificate(certificate_der).public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return False
    try:
        key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def _is_p256(key: object) -> bool:
    return isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)


def _first_line(error: Exception) -> str:
    """Without the library's own advice, which is for programmers."""
    return str(error).partition("\n")[0].partition(". See")[0][:200] or type(error).__name__
