# SPDX-License-Identifier: Apache-2.0
"""``fedaggregator site``: sign a hospital's request, list the sites.

Rule: a site's private key never comes here.
"""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from fedagent.aggregator import roster
from fedagent.aggregator.authority import Authority
from fedagent.cli import aggregator_options as options
from fedagent.cli.output import local_time, print_json, print_lines, tell_lines
from fedagent.conditions.commands import COMPARE_SIGNED, NO_AUTHORITY_HERE, OPTION_FILE, SITE_SIGNED
from fedagent.errors import StorageError, UnavailableError, UsageError
from fedagent.storage.files import write_atomically

_OWN = ("aggregator", "broker")


class SiteLine(msgspec.Struct, frozen=True, kw_only=True):
    """A site that was signed, and what it last said.

    Attributes:
        fingerprint: SHA-256 of the certificate.
        key_fingerprint: of its public key, as ``fedagent enroll --request`` shows it.
    """

    name: str
    fingerprint: str
    key_fingerprint: str
    valid_until: str
    online: bool | None = None
    version: str = ""
    verdict: str = ""
    reason: str = ""
    heard_at: float | None = None


def add_commands(commands: options.Commands) -> None:
    """Adds the commands."""
    group = options.group(commands, "site", "sign and list sites")
    sign = options.command(group, "sign", "sign a site's certificate request", run_sign)
    sign.add_argument("request", type=Path, metavar="FILE", help="what fedagent enroll --request wrote")
    sign.add_argument("--name", help="the name that the site must have (default: the request's)")
    sign.add_argument(
        "--out", type=Path, metavar="FILE", help="where the certificate goes (default: standard output)"
    )
    options.add_password(sign)
    table = options.command(
        group, "list", "the sites that were signed, and when they were last heard", run_list
    )
    options.add_json(table)


def run_sign(arguments: argparse.Namespace) -> int:
    """Signs the request."""
    try:
        request = arguments.request.read_bytes()
    except OSError as error:
        said = OPTION_FILE(option="site sign", path=arguments.request, reason=error.strerror)
        raise UsageError(said) from error
    authority = _authority(arguments)
    authority.open(options.password(arguments, twice=False))
    certificate = authority.sign_request(request, arguments.name)
    if arguments.out is None:
        sys.stdout.write(certificate.decode())
    else:
        write_atomically(arguments.out, certificate, mode=0o644)
    issued = authority.issued()[-1]
    tell_lines(
        str(SITE_SIGNED(site=issued.name)),
        f"  {issued.key_fingerprint}",
        str(COMPARE_SIGNED()),
    )
    return 0


def run_list(arguments: argparse.Namespace) -> int:
    """Prints the sites, each with its newest certificate."""
    newest = {each.name: each for each in _authority(arguments).issued() if each.name not in _OWN}
    heard = {}
    try:
        with options.opened_store(options.settings(arguments)) as store:
            heard = {each.name: each for each in roster.records(store.database.connection)}
    except UnavailableError:
        pass  # never started yet: nobody was heard
    lines = []
    for name, issued in sorted(newest.items()):
        line = SiteLine(
            name=name,
            fingerprint=issued.fingerprint,
            key_fingerprint=issued.key_fingerprint,
            valid_until=issued.not_after,
        )
        if site := heard.get(name):
            line = msgspec.structs.replace(
                line,
                online=site.online,
                version=site.version,
                verdict=site.verdict,
                reason=site.reason,
                heard_at=site.heard_at,
            )
        lines.append(line)
    if arguments.json:
        print_json(lines)
    elif not lines:
        print_lines("no site was signed yet: fedaggregator site sign FILE")
    else:
        print_lines(*(_text(line) for line in lines))
    return 0


def _text(line: SiteLine) -> str:
    until = datetime.fromisoformat(line.valid_until).astimezone(UTC).date()
    if line.heard_at is None:
        return f"{line.name}: never heard; certificate until {until}"
    state = "online" if line.online else "offline"
    verdict = f", {line.verdict}" if line.verdict else ""
    reason = f" ({line.reason})" if line.reason else ""
    return f"{line.name}: {state} at {local_time(line.heard_at)}{verdict}{reason}; certificate until {until}"


def _authority(arguments: argparse.Namespace) -> Authority:
    """The authority beside the settings file."""
    folder: Path = arguments.config.parent / "authority"
    if not folder.is_dir():
        raise StorageError(NO_AUTHORITY_HERE(folder=folder))
    return Authority(folder)
