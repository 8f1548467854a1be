# SPDX-License-Identifier: Apache-2.0
"""Identities, and how a certificate spells them."""

import pytest

from fedagent.errors import WireError
from fedagent.security.identity import AGGREGATOR, AUTHORITY, Identity, parse_uri, uri
from fedagent.wire.topics import Role
from fedagent.wire.values import RESERVED_NAMES

SPELLINGS = [
    (Identity(Role.SITE, "clinic-a"), "fedagent:site/clinic-a"),
    (AGGREGATOR, "fedagent:aggregator"),
    (AUTHORITY, "fedagent:ca"),
]


@pytest.mark.parametrize(("identity", "text"), SPELLINGS)
def test_an_identity_is_written_and_read_in_one_form(identity: Identity, text: str) -> None:
    assert uri(identity) == text
    assert parse_uri(text) == identity


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fedagent:",
        "fedagent:site",
        "fedagent:site/",
        "fedagent:site/a",
        "fedagent:site/clinic-a/b",
        "fedagent:site/clinic-a\n",
        "fedagent:site/Clinic",
        "fedagent:site/-clinic",
        f"fedagent:site/{'a' * 33}",
        "fedagent:aggregator/x",
        "fedagent:broker",
        "Fedagent:aggregator",
        "https://example.org",
    ],
)
def test_other_uris_are_no_identity(text: str) -> None:
    with pytest.raises(WireError):
        parse_uri(text)


@pytest.mark.parametrize("name", sorted(RESERVED_NAMES))
def test_no_site_carries_a_reserved_word(name: str) -> None:
    with pytest.raises(WireError, match=r"no site name|reserved word"):
        parse_uri(f"fedagent:site/{name}")


@pytest.mark.parametrize("role", [Role.AGGREGATOR, Role.CA])
def test_a_role_without_names_has_its_own_only(role: Role) -> None:
    with pytest.raises(WireError, match="cannot be named"):
        Identity(role, "clinic-a")
