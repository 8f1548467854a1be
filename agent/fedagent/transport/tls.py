# SPDX-License-Identifier: Apache-2.0
"""What both ends of a connection to the broker must prove: one TLS context.

Rule: TLS 1.3 or nothing, the broker's name is checked, and a wrong file is named before anything is connected.
"""

import os
import ssl
import stat
from pathlib import Path
from typing import Final

from fedagent.conditions.settings import (
    BROKER_FILE_UNREADABLE,
    KEY_IS_OPEN,
    NOT_A_CA,
    NOT_A_PAIR,
    OTHER_CERTIFICATE,
)
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
    except (ssl.SSLError, UnicodeDecodeError) as error:
        raise ConfigurationError(NOT_A_CA(path=ca)) from error
    except OSError as error:
        raise _unreadable("broker.ca", ca, error) from error


def _check_key(key: Path) -> None:
    try:
        with key.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    except OSError as error:
        raise _unreadable("broker.key", key, error) from error
    if mode & _FOREIGN:
        raise ConfigurationError(KEY_IS_OPEN(path=key, mode=mode))


def _load_identity(made: ssl.SSLContext, certificate: Path, key: Path) -> None:
    try:
        # A password callback, else OpenSSL would ask a terminal that a daemon does not have.
        made.load_cert_chain(certificate, key, password=lambda: b"")
    except ssl.SSLError as error:
        condition = OTHER_CERTIFICATE if error.reason == "KEY_VALUES_MISMATCH" else NOT_A_PAIR
        raise ConfigurationError(condition(certificate=certificate, key=key)) from error
    except OSError as error:
        raise _unreadable("broker.certificate", certificate, error) from error


def _unreadable(setting: str, path: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(BROKER_FILE_UNREADABLE(setting=setting, path=path, reason=error.strerror))
