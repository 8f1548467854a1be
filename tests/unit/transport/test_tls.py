# SPDX-License-Identifier: Apache-2.0
"""The TLS context, and what is said of wrong files."""

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from fedagent.core.settings import BrokerSettings
from fedagent.errors import ConfigurationError
from fedagent.security.certificates import key_to_pem, make_key, subject
from fedagent.security.identity import Identity
from fedagent.transport import tls
from fedagent.wire.topics import Role
from tests.fakes.certificates import FakeAuthority, leaf_extensions, pem


@pytest.fixture
def settings(tmp_path: Path) -> BrokerSettings:
    authority, key = FakeAuthority(), make_key()
    leaf = authority.issue(
        key.public_key(), subject("clinic-a"), leaf_extensions(Identity(Role.SITE, "clinic-a"))
    )
    files = {"ca.crt": authority.pem, "site.crt": pem(leaf), "site.key": key_to_pem(key, None)}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        (tmp_path / name).chmod(0o640)
    paths = {"ca": "ca.crt", "certificate": "site.crt", "key": "site.key"}
    return BrokerSettings(host="broker", **{setting: str(tmp_path / name) for setting, name in paths.items()})  # type: ignore[arg-type] # the settings' paths are all strings


def test_only_tls_1_3_with_a_checked_name_is_spoken(settings: BrokerSettings) -> None:
    made = tls.context(settings)
    assert made.minimum_version is ssl.TLSVersion.TLSv1_3
    assert made.check_hostname
    assert made.verify_mode is ssl.CERT_REQUIRED


@pytest.mark.parametrize(
    ("setting", "change", "said"),
    [
        pytest.param("ca", Path.unlink, "broker.ca: cannot read", id="no ca"),
        pytest.param("ca", lambda path: path.write_bytes(b"x"), "not a certificate in PEM", id="ca is text"),
        pytest.param(
            "ca", lambda path: path.write_bytes(b"\xff"), "not a certificate in PEM", id="ca is binary"
        ),
        pytest.param("key", Path.unlink, "broker.key: cannot read", id="no key"),
        pytest.param(
            "key", lambda path: path.chmod(0o644), "open to other users (mode 0644)", id="loose key"
        ),
        pytest.param("key", lambda path: path.write_bytes(b"x"), "in PEM form", id="key is text"),
        pytest.param(
            "key",
            lambda path: path.write_bytes(key_to_pem(make_key(), None)),
            "is not the key of",
            id="foreign key",
        ),
        pytest.param(
            "key",
            lambda path: path.write_bytes(key_to_pem(make_key(), b"password")),
            "unencrypted key",
            id="encrypted key",
        ),
        pytest.param("certificate", Path.unlink, "broker.certificate: cannot read", id="no certificate"),
        pytest.param(
            "certificate", lambda path: path.write_bytes(b"x"), "in PEM form", id="certificate is text"
        ),
    ],
)
def test_a_wrong_file_is_named(
    settings: BrokerSettings, setting: str, change: Callable[[Path], object], said: str
) -> None:
    path = Path(getattr(settings, setting))
    change(path)
    with pytest.raises(ConfigurationError) as raised:
        tls.context(settings)
    assert said in str(raised.value)
    assert str(path) in str(raised.value)
