# SPDX-License-Identifier: Apache-2.0
"""Keys and certificates that are wrong: each daemon says one line at its start, ends with 78, and changes nothing.

A certificate that is only not valid now is said in one line too, and the daemon goes on: the clock may be what is wrong.
"""

import os
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from fedagent.cli import aggregator as aggregator_program
from fedagent.cli import main as site_program
from fedagent.conditions.aggregator import NOT_INITIALISED
from fedagent.core.settings import BrokerSettings
from fedagent.errors import ConfigurationError
from fedagent.security.certificates import key_to_pem, make_key, subject
from fedagent.security.identity import AGGREGATOR, Identity
from fedagent.transport.credentials import read_credentials
from fedagent.wire.topics import Role
from tests.fakes.certificates import FakeAuthority, leaf_extensions, pem
from tests.fakes.clinic import new_authority
from tests.fakes.contents import contents

NAMES = {"site": Identity(Role.SITE, "clinic-a"), "aggregator": AGGREGATOR}
HOUR = timedelta(hours=1)
NOBODY = 65534


class Place:
    """One daemon's settings, key and certificates, right until a case spoils them."""

    def __init__(self, folder: Path, program: str) -> None:
        self.folder, self.program = folder, program
        self.authority = new_authority()
        self.ca, self.certificate, self.key = (folder / name for name in ("ca.crt", "our.crt", "our.key"))
        self.config = folder / "settings.toml"
        site = '[site]\nname = "clinic-a"\n' if program == "site" else ""
        self.config.write_text(
            f'{site}[broker]\nhost = "localhost"\nca = "{self.ca}"\ncertificate = "{self.certificate}"\n'
            f'key = "{self.key}"\n[paths]\nstate = "{folder}/state"\nruntime = "{folder}/run"\n'
        )
        self.private = make_key()
        self.ca.write_bytes(self.authority.pem)
        self.ca.chmod(0o644)
        self.write_key(key_to_pem(self.private, None))
        self.issue(NAMES[program])

    def write_key(self, data: bytes, mode: int = 0o600) -> None:
        self.key.write_bytes(data)
        self.key.chmod(mode)

    def issue(
        self,
        identity: Identity,
        *,
        authority: FakeAuthority | None = None,
        begin: timedelta = -HOUR,
        end: timedelta = HOUR,
    ) -> None:
        now = datetime.now(UTC)
        leaf = (authority or self.authority).issue(
            self.private.public_key(),
            subject(identity.name),
            leaf_extensions(identity),
            begin=now + begin,
            end=now + end,
        )
        self.certificate.write_bytes(pem(leaf))
        self.certificate.chmod(0o644)

    @property
    def broker(self) -> BrokerSettings:
        return BrokerSettings(
            host="localhost", ca=str(self.ca), certificate=str(self.certificate), key=str(self.key)
        )

    def run(self) -> int:
        if self.program == "site":
            return site_program.main(["run", "--config", str(self.config)])
        before = os.umask(0o077)  # as the program sets it, for all that its process writes
        try:
            return aggregator_program.main(["run", "--config", str(self.config)])
        finally:
            os.umask(before)


class Case(NamedTuple):
    """What is wrong, and the line; the folder stands in it as ``{}``."""

    name: str
    program: str
    spoil: Callable[[Place], object]
    line: str


def other_key(place: Place) -> None:
    place.write_key(key_to_pem(make_key(), None))


def locked_key(place: Place) -> None:
    place.write_key(
        place.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    )


def rsa_key(place: Place) -> None:
    made = rsa.generate_private_key(65537, 2048)
    place.write_key(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def foreign(place: Place) -> None:
    place.issue(NAMES[place.program], authority=new_authority())


CASES = [
    Case(
        "no key",
        "site",
        lambda place: place.key.unlink(),
        "fedagent: cannot read {}/our.key: No such file or directory; has this site joined (fedagent enroll --request)? [FA7604]",
    ),
    Case(
        "no certificate",
        "site",
        lambda place: place.certificate.unlink(),
        "fedagent: cannot read {}/our.crt: No such file or directory; has this site joined (fedagent enroll --request)? [FA7604]",
    ),
    Case(
        "no authority",
        "site",
        lambda place: place.ca.unlink(),
        "fedagent: cannot read {}/ca.crt: No such file or directory; has this site joined (fedagent enroll --request)? [FA7604]",
    ),
    Case(
        "an open key",
        "site",
        lambda place: place.key.chmod(0o644),
        "fedagent: broker.key: {}/our.key is open to other users (mode 0644); chmod 0600 {}/our.key [FA2103]",
    ),
    Case(
        "a key for the group to write",
        "site",
        lambda place: place.key.chmod(0o660),
        "fedagent: broker.key: {}/our.key is open to other users (mode 0660); chmod 0600 {}/our.key [FA2103]",
    ),
    Case(
        "no key at all",
        "site",
        lambda place: place.write_key(b"key"),
        "fedagent: broker.certificate: {}/our.crt with {}/our.key: the private key cannot be read: Unable to load PEM file; make it anew with fedagent enroll --request [FA2051]",
    ),
    Case(
        "another key",
        "site",
        other_key,
        "fedagent: broker.certificate: {}/our.crt with {}/our.key: the certificate is for another private key; enroll again [FA2051]",
    ),
    Case(
        "a key with a password",
        "site",
        locked_key,
        "fedagent: broker.certificate: {}/our.crt with {}/our.key: the private key cannot be read: Password was not given but private key is encrypted; make it anew with fedagent enroll --request [FA2051]",
    ),
    Case(
        "an RSA key",
        "site",
        rsa_key,
        "fedagent: broker.certificate: {}/our.crt with {}/our.key: the private key is not ECDSA P-256; make it with fedagent enroll --request [FA2051]",
    ),
    Case(
        "no certificate at all",
        "site",
        lambda place: place.certificate.write_bytes(b"-"),
        "fedagent: broker.certificate: {}/our.crt with {}/our.key: the certificate cannot be used: Unable to load PEM file; enroll again [FA2051]",
    ),
    Case(
        "no authority at all",
        "site",
        lambda place: place.ca.write_bytes(b"-"),
        "fedagent: broker.ca: {}/ca.crt: not the one certificate of a study's authority: Unable to load PEM file; get ca.crt anew [FA2050]",
    ),
    Case(
        "its own certificate as authority",
        "site",
        lambda place: place.ca.write_bytes(place.certificate.read_bytes()),
        "fedagent: broker.ca: {}/ca.crt: not the one certificate of a study's authority: Issuer certificate subject does not match certificate issuer.; get ca.crt anew [FA2050]",
    ),
    Case(
        "a foreign certificate",
        "site",
        foreign,
        "fedagent: broker.certificate: {}/our.crt is none that {}/ca.crt vouches for: the authority did not sign the certificate (at certificate); install the two that belong together [FA2052]",
    ),
    Case(
        "another site's certificate",
        "site",
        lambda place: place.issue(Identity(Role.SITE, "clinic-b")),
        "fedagent: {}/our.crt is the certificate of 'clinic-b', but site.name is 'clinic-a'; install the right one with fedagent enroll --certificate, or correct site.name [FA7605]",
    ),
    Case(
        "the aggregator's certificate at a site",
        "site",
        lambda place: place.issue(AGGREGATOR),
        "fedagent: {}/our.crt is the certificate of 'aggregator', but site.name is 'clinic-a'; install the right one with fedagent enroll --certificate, or correct site.name [FA7605]",
    ),
    Case(
        "no key at the centre",
        "aggregator",
        lambda place: place.key.unlink(),
        "fedaggregator: cannot read {}/our.key: No such file or directory; run fedaggregator init [FA8603]",
    ),
    Case(
        "an open key at the centre",
        "aggregator",
        lambda place: place.key.chmod(0o604),
        "fedaggregator: broker.key: {}/our.key is open to other users (mode 0604); chmod 0600 {}/our.key [FA2103]",
    ),
    Case(
        "a site's certificate at the centre",
        "aggregator",
        lambda place: place.issue(NAMES["site"]),
        "fedaggregator: broker.certificate: {}/our.crt is not an aggregator's certificate; name the one that fedaggregator init wrote [FA8604]",
    ),
    Case(
        "a foreign certificate at the centre",
        "aggregator",
        foreign,
        "fedaggregator: broker.certificate: {}/our.crt is none that {}/ca.crt vouches for: the authority did not sign the certificate (at certificate); install the two that belong together [FA2052]",
    ),
]


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])
def test_wrong_credentials_are_one_line_and_change_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], case: Case
) -> None:
    place = Place(tmp_path, case.program)
    case.spoil(place)
    before = contents(tmp_path)
    code = place.run()
    said = capfd.readouterr()
    assert said.err == case.line.replace("{}", str(tmp_path)) + "\n"
    assert (said.out, code) == ("", 78)
    after = contents(tmp_path)
    assert {path: after[path] for path in before} == before


@pytest.mark.parametrize(
    ("begin", "end", "words"), [(-2 * HOUR, -HOUR, "expired at"), (HOUR, 2 * HOUR, "is valid only from")]
)
def test_a_certificate_that_is_not_valid_now_is_said_once_and_not_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, begin: timedelta, end: timedelta, words: str
) -> None:
    place = Place(tmp_path, "site")
    place.issue(NAMES["site"], begin=begin, end=end)
    signer, _ = read_credentials(place.broker, NOT_INITIALISED, datetime.now(UTC))
    assert signer.identity == NAMES["site"]
    (line,) = caplog.messages
    assert line.startswith(f"broker.certificate: {place.certificate}: the certificate {words} ")
    assert "check this machine's clock" in line
    assert line.endswith(" [FA2053]")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file that another user may not read")
def test_a_key_that_the_daemon_may_not_read_is_named() -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder), "site")
        Path(folder).chmod(0o755)
        os.seteuid(NOBODY)
        try:
            with pytest.raises(ConfigurationError) as caught:
                read_credentials(place.broker, NOT_INITIALISED, datetime.now(UTC))
        finally:
            os.seteuid(0)
    assert str(caught.value) == (
        f"cannot read {place.key}: Permission denied; correct its owner: the user of the service must read it"
    )
    assert caught.value.exit_code == 78
