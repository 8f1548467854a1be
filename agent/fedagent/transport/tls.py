# SPDX-License-Identifier: Apache-2.0
"""What both ends of a connection to the broker must prove: one TLS context.

Rule: TLS 1.3 or nothing, the broker's name is checked, and a wrong file is named before anything is connected.
"""

import os
import ssl
import stat
from pathlib import Path
from typing import Final

from fedagent.core.settings import BrokerSettings
from fedagent.errors import ConfigurationError

_FOREIGN: Final = stat.S_IRWXO | stat.S_IWGRP
"""Nobody else's. The owner's group may read: packages install the key as root:fedagent, mode 0640."""


def context(settings: BrokerSettings) -> ssl.SSLContext:
    """A client's context: trusts the federation's CA alone and shows our certificate.

    Raises:
        ConfigurationError: a file is unreadable, not what it must be, or the key is open to other users.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    _load_authority(made, Path(settings.ca))
    _check_key(Path(settings.key))
    _load_identity(made, Path(settings.certificate), Path(settings.key))
    return made


def _load_authority(made: ssl.SSLContext, ca: Path) -> None:
    try:
        made.load_verify_locations(cadata=ca.read_text(encoding="ascii"))
    except OSError as error:
        raise ConfigurationError(_unreadable("broker.ca", ca, error)) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"broker.ca: {ca} is not a certificate in PEM form") from error


def _check_key(key: Path) -> None:
    try:
        with key.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    except OSError as error:
        raise ConfigurationError(_unreadable("broker.key", key, error)) from error
    if mode & _FOREIGN:
        raise ConfigurationError(
            f"broker.key: {key} is open to other users (mode {mode:04o}): chmod 0600 {key}"
        )


def _load_identity(made: ssl.SSLContext, certificate: Path, key: Path) -> None:
    try:
        # A password callback, else OpenSSL would ask a terminal that a daemon does not have.
        made.load_cert_chain(certificate, key, password=lambda: b"")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            problem = f"{key} is not the key of {certificate}: enrol again, or restore the pair"
        else:
            problem = f"{certificate} and {key} must be a certificate and an unencrypted key in PEM form"
        raise ConfigurationError(f"broker.certificate: {problem}") from error
    except OSError as error:
        raise ConfigurationError(_unreadable("broker.certificate", certificate, error)) from error


def _unreadable(setting: str, path: Path, error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"{setting}: {path} is not a certificate in PEM form"
    return f"{setting}: cannot read {path}: {error.strerror}; is this machine enrolled?"
