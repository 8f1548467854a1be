# SPDX-License-Identifier: Apache-2.0
"""The three files that say who we are and whom we trust, read and held against each other before anything is connected.

Rule: what only an administrator can mend is an error; a certificate that is not valid now is told and not refused, since
the clock may be what is wrong, and both may be mended while the daemon runs.
"""

import logging
from datetime import datetime
from pathlib import Path
from typing import Final

from fedagent.conditions.condition import Condition
from fedagent.conditions.messages import (
    AUTHORITY_EXPIRED,
    AUTHORITY_NOT_YET_VALID,
    CERTIFICATE_EXPIRED,
    CERTIFICATE_NOT_YET_VALID,
)
from fedagent.conditions.settings import (
    AUTHORITY_FILE,
    CERTIFICATE_NOT_NOW,
    CERTIFICATE_REFUSED,
    CREDENTIALS,
    MAY_NOT_READ,
)
from fedagent.core.settings import BrokerSettings
from fedagent.errors import ConfigurationError, WireError
from fedagent.journal import tell
from fedagent.security.certificates import Signer, Trust

log = logging.getLogger(__name__)

_OF_TIME: Final = {
    each.code
    for each in (CERTIFICATE_EXPIRED, CERTIFICATE_NOT_YET_VALID, AUTHORITY_EXPIRED, AUTHORITY_NOT_YET_VALID)
}


def read_credentials(broker: BrokerSettings, missing: Condition, now: datetime) -> tuple[Signer, Trust]:
    """Who we are, and whom we trust.

    Args:
        missing: what a file that is not there means (``path``, ``reason``).
        now: with its time zone.

    Raises:
        ConfigurationError: a file is missing or wrong, or the authority did not issue the certificate.
    """
    try:
        ca, certificate, key = (
            Path(name).read_bytes() for name in (broker.ca, broker.certificate, broker.key)
        )
    except PermissionError as error:
        raise ConfigurationError(MAY_NOT_READ(path=error.filename, reason=error.strerror)) from error
    except OSError as error:
        raise ConfigurationError(missing(path=error.filename, reason=error.strerror)) from error
    try:
        trust = Trust(ca)
    except ConfigurationError as error:
        raise ConfigurationError(AUTHORITY_FILE(path=broker.ca, reason=error)) from error
    try:
        signer = Signer(certificate, key)
    except ConfigurationError as error:
        raise ConfigurationError(
            CREDENTIALS(certificate=broker.certificate, key=broker.key, reason=error)
        ) from error
    try:
        trust.identify(signer.certificate, now)
    except WireError as error:
        if error.said.code not in _OF_TIME:
            said = CERTIFICATE_REFUSED(path=broker.certificate, ca=broker.ca, reason=error)
            raise ConfigurationError(said) from error
        tell(log, CERTIFICATE_NOT_NOW(path=broker.certificate, reason=error))
    return signer, trust
