# SPDX-License-Identifier: Apache-2.0
"""Who a certificate says that its holder is, and how that is written in it.

Rule: an identity that exists is a lawful one; role and name come from the certificate, never from what a message
says.
"""

from typing import Final

import msgspec

from fedagent.conditions.messages import NO_IDENTITY, NO_SITE_NAME, RESERVED_SITE_NAME, WRONG_ROLE_NAME
from fedagent.errors import WireError
from fedagent.wire.topics import Role
from fedagent.wire.values import RESERVED_NAMES, Name

SCHEME: Final = "fedagent:"
"""Of the URI in the certificate's subject alternative name (RFC 5280 section 4.2.1.6)."""


class Identity(msgspec.Struct, frozen=True):
    """A role and a name; the aggregator and the authority are named like their role.

    Raises:
        WireError: the name is no name, or a site's is one of the reserved words.
    """

    role: Role
    name: str

    def __post_init__(self) -> None:
        if self.role is not Role.SITE:
            if self.name != self.role.value:
                raise WireError(WRONG_ROLE_NAME(role=self.role.value, name=self.name[:64]), "name")
            return
        try:
            msgspec.convert(self.name, Name)
        except msgspec.ValidationError as error:
            raise WireError(NO_SITE_NAME(name=self.name[:64]), "name") from error
        if self.name in RESERVED_NAMES:
            raise WireError(RESERVED_SITE_NAME(name=self.name), "name")


AGGREGATOR: Final = Identity(Role.AGGREGATOR, "aggregator")
AUTHORITY: Final = Identity(Role.CA, "ca")


def uri(identity: Identity) -> str:
    """The identity as it stands in a certificate: ``fedagent:site/NAME``, ``fedagent:aggregator``, ``fedagent:ca``."""
    if identity.role is Role.SITE:
        return f"{SCHEME}site/{identity.name}"
    return f"{SCHEME}{identity.role.value}"


def parse_uri(text: str) -> Identity:
    """The identity that a certificate's URI stands for.

    Raises:
        WireError: none of the three forms, or a name that no site may carry.
    """
    if text == uri(AGGREGATOR):
        return AGGREGATOR
    if text == uri(AUTHORITY):
        return AUTHORITY
    prefix = f"{SCHEME}site/"
    if not text.startswith(prefix):
        raise WireError(NO_IDENTITY(text=text[:100]), "uri")
    return Identity(Role.SITE, text.removeprefix(prefix))
