# SPDX-License-Identifier: Apache-2.0
"""What a certificate must be for its holder to count, and keys and signatures."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier
from hypothesis import given
from hypothesis import strategies as st

from fedagent.errors import ConfigurationError, WireError
from fedagent.security.certificates import (
    CERTIFICATE_BYTES,
    Signer,
    Trust,
    alternative_name,
    is_signed,
    key_fingerprint,
    key_to_pem,
    load_key,
    make_key,
    make_request,
    subject,
)
from fedagent.security.identity import AGGREGATOR, AUTHORITY, Identity
from fedagent.wire.topics import Role
from tests.fakes.certificates import (
    LIFE,
    NOW,
    Extension,
    FakeAuthority,
    authority_extensions,
    der,
    leaf_extensions,
    pem,
    usage,
)

SITE = Identity(Role.SITE, "clinic-a")
AUTHORITY_HERE = FakeAuthority()
TRUST = AUTHORITY_HERE.trust
KEY = make_key()
LEAF = AUTHORITY_HERE.issue(KEY.public_key(), subject("clinic-a"), leaf_extensions(SITE))
LEAF_DER = der(LEAF)


# --- whom a certificate names -----------------------------------------------------------------------------------


@pytest.mark.parametrize("identity", [SITE, AGGREGATOR])
def test_a_good_certificate_names_its_holder(identity: Identity) -> None:
    assert TRUST.identify(AUTHORITY_HERE.signer(identity).certificate, NOW) == identity


def changed(change: Callable[[list[Extension]], list[Extension]], name: str = "clinic-a") -> bytes:
    return der(AUTHORITY_HERE.issue(KEY.public_key(), subject(name), change(leaf_extensions(SITE))))


def replaced(extension: x509.ExtensionType, *, critical: bool = False) -> bytes:
    kept = [each for each in leaf_extensions(SITE) if type(each[0]) is not type(extension)]
    return changed(lambda _: [*kept, (extension, critical)])


def without(kind: type[x509.ExtensionType]) -> bytes:
    return changed(lambda extensions: [each for each in extensions if not isinstance(each[0], kind)])


def uris(*texts: str) -> bytes:
    return replaced(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(text) for text in texts]))


def two_common_names() -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each) for each in ("clinic-a", "clinic-b")])
    return der(AUTHORITY_HERE.issue(KEY.public_key(), name, leaf_extensions(SITE)))


def of_key(key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey) -> bytes:
    return der(AUTHORITY_HERE.issue(key, subject("clinic-a"), leaf_extensions(SITE)))


def of_the_authority_itself() -> bytes:
    name = subject(AUTHORITY.name)
    return der(AUTHORITY_HERE.issue(KEY.public_key(), name, leaf_extensions(AUTHORITY)))


FOREIGN = FakeAuthority()


def renamed() -> bytes:
    FOREIGN.name = subject("other")
    try:
        return der(FOREIGN.issue(KEY.public_key(), subject("clinic-a"), leaf_extensions(SITE)))
    finally:
        FOREIGN.name = subject(AUTHORITY.name)


ODD = x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x05\x00")

REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "unreadable"),
    "not DER": (lambda: b"x" * 100, "unreadable"),
    "PEM": (lambda: pem(LEAF), "unreadable"),
    "longer than any": (lambda: bytes(CERTIFICATE_BYTES + 1), "4097 bytes"),
    "bytes after it": (lambda: LEAF_DER + b"\x00", "unreadable"),
    "another authority of the same name": (
        lambda: der(FOREIGN.issue(KEY.public_key(), subject("clinic-a"), leaf_extensions(SITE))),
        "did not sign",
    ),
    "an authority of another name": (renamed, "another authority"),
    "the authority's own": (lambda: der(AUTHORITY_HERE.certificate), "what it is for"),
    "an intermediate authority": (
        lambda: replaced(x509.BasicConstraints(ca=True, path_length=None), critical=True),
        "of an authority",
    ),
    "may sign certificates": (lambda: replaced(usage(authority=True), critical=True), "of an authority"),
    "may not sign": (lambda: replaced(usage(signs=False), critical=True), "not for a client"),
    "a server's": (
        lambda: replaced(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])),
        "not for a client",
    ),
    "without basic constraints": (lambda: without(x509.BasicConstraints), "what it is for"),
    "without key usage": (lambda: without(x509.KeyUsage), "what it is for"),
    "without a purpose": (lambda: without(x509.ExtendedKeyUsage), "what it is for"),
    "without an alternative name": (
        lambda: without(x509.SubjectAlternativeName),
        "no subject alternative name",
    ),
    "an unknown critical extension": (lambda: replaced(ODD, critical=True), "1.2.3.4"),
    "no fedagent identity": (lambda: uris("https://example.org"), "0 fedagent identities"),
    "two fedagent identities": (lambda: uris("fedagent:site/clinic-a", "fedagent:aggregator"), "2 fedagent"),
    "an unknown identity": (lambda: uris("fedagent:root"), "no fedagent identity"),
    "a reserved name": (lambda: uris("fedagent:site/all"), "reserved"),
    "the authority's identity": (of_the_authority_itself, "not messages"),
    "another common name": (lambda: changed(lambda extensions: extensions, name="clinic-b"), "common name"),
    "two common names": (two_common_names, "common name"),
    "a P-384 key": (lambda: of_key(ec.generate_private_key(ec.SECP384R1()).public_key()), "P-256"),
    "an RSA key": (lambda: of_key(rsa.generate_private_key(65537, 2048).public_key()), "P-256"),
    "an Ed25519 key": (lambda: of_key(ed25519.Ed25519PrivateKey.generate().public_key()), "P-256"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_certificate_proves_nothing_that_is(case: str) -> None:
    make, reason = REFUSED[case]
    with pytest.raises(WireError, match=reason):
        TRUST.identify(make(), NOW)


def test_an_unknown_extension_that_is_not_critical_does_no_harm() -> None:
    assert TRUST.identify(replaced(ODD), NOW) == SITE


def test_other_kinds_of_name_beside_the_identity_do_no_harm() -> None:
    assert TRUST.identify(uris("https://example.org", "fedagent:site/clinic-a"), NOW) == SITE


@pytest.mark.filterwarnings("ignore")  # cryptography warns of some encodings that older programs wrote
@given(index=st.integers(0, len(LEAF_DER) - 1), flip=st.integers(1, 255))
def test_no_altered_certificate_names_anyone(index: int, flip: int) -> None:
    altered = bytearray(LEAF_DER)
    altered[index] ^= flip
    with pytest.raises(WireError):
        TRUST.identify(bytes(altered), NOW)


def test_a_certificate_has_one_form() -> None:
    """The signature does not cover how many bits of its own last byte count."""
    made = (
        AUTHORITY_HERE.issue(KEY.public_key(), subject("clinic-a"), leaf_extensions(SITE)) for _ in range(100)
    )
    even = next(each for each in made if each.signature[-1] % 2 == 0)
    altered = bytearray(der(even))
    altered[-len(even.signature) - 1] = 1
    with pytest.raises(WireError, match="canonical form"):
        TRUST.identify(bytes(altered), NOW)


@pytest.mark.filterwarnings("ignore")
@given(st.binary(max_size=300))
def test_no_random_bytes_name_anyone(data: bytes) -> None:
    with pytest.raises(WireError):
        TRUST.identify(data, NOW)


BEGIN, END = LEAF.not_valid_before_utc, LEAF.not_valid_after_utc
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize("now", [BEGIN, NOW, END])
def test_a_certificate_counts_from_its_first_to_its_last_second(now: datetime) -> None:
    assert TRUST.identify(LEAF_DER, now) == SITE


@pytest.mark.parametrize(("now", "reason"), [(BEGIN - SECOND, "only from"), (END + SECOND, "expired at")])
def test_a_certificate_counts_neither_before_nor_after(now: datetime, reason: str) -> None:
    with pytest.raises(WireError, match=f"^the certificate .*{reason}"):
        TRUST.identify(LEAF_DER, now)


@pytest.mark.parametrize(
    ("begin", "end", "reason"),
    [(NOW + SECOND, NOW + LIFE, "only from"), (NOW - LIFE, NOW - SECOND, "expired at")],
)
def test_nothing_counts_outside_the_authoritys_own_time(begin: datetime, end: datetime, reason: str) -> None:
    authority = FakeAuthority(begin=begin, end=end)
    with pytest.raises(WireError, match=f"^the authority's certificate .*{reason}"):
        authority.trust.identify(authority.site().certificate, NOW)


def test_a_site_may_hold_a_new_certificate_with_a_new_key() -> None:
    first, second = AUTHORITY_HERE.site("clinic-a"), AUTHORITY_HERE.site("clinic-a")
    assert first.certificate != second.certificate
    assert TRUST.identify(first.certificate, NOW) == TRUST.identify(second.certificate, NOW)


# --- the authority's certificate ----------------------------------------------------------------------------------


def authority_without(kind: type[x509.ExtensionType]) -> bytes:
    kept = [each for each in authority_extensions() if not isinstance(each[0], kind)]
    return FakeAuthority(extensions=kept).pem


NO_AUTHORITY: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "not the one certificate"),
    "not PEM": (lambda: b"ca", "not the one certificate"),
    "two": (lambda: AUTHORITY_HERE.pem + FOREIGN.pem, "not the one certificate"),
    "a site's": (lambda: pem(LEAF), "not the one certificate"),
    "self-signed, of a site": (
        lambda: FakeAuthority(extensions=leaf_extensions(SITE)).pem,
        "not that of an authority",
    ),
    "a key": (lambda: key_to_pem(KEY, None), "not the one certificate"),
    "without basic constraints": (
        lambda: authority_without(x509.BasicConstraints),
        "not the one certificate",
    ),
    "without key usage": (lambda: authority_without(x509.KeyUsage), "not the one certificate"),
    "on P-384": (
        lambda: FakeAuthority(key=ec.generate_private_key(ec.SECP384R1())).pem,
        "not that of an authority",
    ),
}


@pytest.mark.parametrize("case", NO_AUTHORITY)
def test_nobody_trusts_what_is_no_authority(case: str) -> None:
    make, reason = NO_AUTHORITY[case]
    with pytest.raises(ConfigurationError, match=reason):
        Trust(make())


# --- keys and requests ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("password", [None, b"correct horse"])
def test_a_key_comes_back_from_its_file(password: bytes | None) -> None:
    text = key_to_pem(KEY, password)
    assert (b"ENCRYPTED" in text) == (password is not None)
    assert load_key(text, password).private_numbers() == KEY.private_numbers()


def other_key(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)


@pytest.mark.parametrize(
    ("text", "password", "reason"),
    [
        (b"", None, "cannot be read"),
        (b"not a key", None, "cannot be read"),
        (key_to_pem(KEY, b"right"), b"wrong", "cannot be read"),
        (key_to_pem(KEY, b"right"), None, "cannot be read"),
        (key_to_pem(KEY, None), b"needless", "cannot be read"),
        (other_key(rsa.generate_private_key(65537, 2048)), None, "not ECDSA P-256"),
        (other_key(ec.generate_private_key(ec.SECP384R1())), None, "not ECDSA P-256"),
    ],
    ids=["empty", "text", "wrong password", "no password", "needless password", "rsa", "p-384"],
)
def test_a_key_that_cannot_be_used_is_a_matter_of_configuration(
    text: bytes, password: bytes | None, reason: str
) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        load_key(text, password)


def test_a_keys_fingerprint_is_that_of_its_public_half() -> None:
    public = KEY.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert key_fingerprint(KEY.public_key()) == hashlib.sha256(public).hexdigest()


def test_a_request_asks_for_the_sites_names_and_proves_its_key() -> None:
    request = x509.load_pem_x509_csr(make_request(KEY, "clinic-a"))
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert request.is_signature_valid
    assert request.public_key() == KEY.public_key()
    assert request.subject == subject("clinic-a")
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["fedagent:site/clinic-a"]


@pytest.mark.parametrize("name", ["all", "Clinic", ""])
def test_no_request_is_made_for_a_name_that_no_site_may_have(name: str) -> None:
    with pytest.raises(WireError):
        make_request(KEY, name)


# --- signatures -----------------------------------------------------------------------------------------------------


def signer() -> Signer:
    return Signer(pem(LEAF), key_to_pem(KEY, None))


def test_a_signer_is_who_its_certificate_says() -> None:
    assert signer().identity == SITE
    assert signer().certificate == LEAF_DER


@given(st.binary(max_size=100))
def test_the_same_data_have_the_same_signature(data: bytes) -> None:
    signature = signer().sign(data)
    assert signature == signer().sign(data)
    assert is_signed(data, signature, LEAF_DER)
    assert not is_signed(data + b"x", signature, LEAF_DER)


@pytest.mark.parametrize("signature", [b"", b"x", bytes(70), bytes.fromhex("3006020100020100")])
def test_what_is_no_signature_proves_nothing(signature: bytes) -> None:
    assert not is_signed(b"data", signature, LEAF_DER)


def test_a_signature_by_another_kind_of_key_proves_nothing() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    assert not is_signed(b"data", key.sign(b"data"), of_key(key.public_key()))


@pytest.mark.parametrize(
    ("certificate", "key", "reason"),
    [
        (b"", key_to_pem(KEY, None), "cannot be used"),
        (pem(LEAF), b"", "cannot be read"),
        (pem(LEAF), key_to_pem(make_key(), None), "another private key"),
        (FakeAuthority(extensions=[]).pem, key_to_pem(KEY, None), "no subject alternative name"),
    ],
    ids=["no certificate", "no key", "not a pair", "nobody's certificate"],
)
def test_a_signer_needs_a_certificate_with_its_key(certificate: bytes, key: bytes, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        Signer(certificate, key)


def test_times_are_compared_in_any_zone() -> None:
    assert TRUST.identify(LEAF_DER, NOW.astimezone(UTC)) == SITE
    assert alternative_name(SITE) == x509.SubjectAlternativeName(
        [x509.UniformResourceIdentifier("fedagent:site/clinic-a")]
    )
