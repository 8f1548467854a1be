# SPDX-License-Identifier: Apache-2.0
"""``fedagent enroll``: makes this site's key and request, later installs the certificate that came back.

Rule: the private key is made here and never leaves; nothing is installed that would not work.
"""

import argparse
import os
import pwd
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509

from fedagent.cli import options
from fedagent.cli.output import print_json, print_lines, tell_lines
from fedagent.conditions.commands import (
    CA_WITHOUT_CERTIFICATE,
    COMPARE_REQUEST,
    KEY_READ_BY_OTHERS,
    REQUEST_MADE,
    SIGNED_UNUSABLE,
    SITE_NAME_UNUSABLE,
)
from fedagent.conditions.settings import CANNOT_READ
from fedagent.conditions.site import OTHER_SITES_CERTIFICATE
from fedagent.core.settings import Settings
from fedagent.errors import ConfigurationError, UsageError, WireError
from fedagent.security.certificates import (
    Signer,
    Trust,
    key_fingerprint,
    key_to_pem,
    load_key,
    make_key,
    make_request,
)
from fedagent.storage.files import write_atomically
from fedagent.storage.settings import read_settings

SERVICE_USER: Final = "fedagent"
STDOUT: Final = "-"
_LOOSE: Final = 0o077


class Requested(msgspec.Struct, frozen=True, kw_only=True):
    """What ``--request --json`` prints.

    Attributes:
        fingerprint: SHA-256 of the public key (DER), to compare over the telephone.
    """

    site: str
    key: str
    fingerprint: str
    request: str


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    """What ``--certificate --json`` prints."""

    site: str
    certificate: str
    ca: str
    not_after: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``fedagent enroll``."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--request",
        nargs="?",
        const=STDOUT,
        metavar="FILE",
        help="make this site's key if there is none, and write its certificate request (to standard output)",
    )
    what.add_argument(
        "--certificate", type=Path, metavar="FILE", help="check and install the signed certificate"
    )
    parser.add_argument(
        "--ca", type=Path, metavar="FILE", help="with --certificate: the authority's certificate"
    )
    options.add_config(parser)
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Does what the options say and prints it; the exit code.

    Raises:
        UsageError: options that do not fit together.
        ConfigurationError: the settings, the key or the certificate must be corrected.
        StorageError: a file cannot be written.
    """
    settings = read_settings(arguments.config)
    if arguments.certificate is None:
        if arguments.ca is not None:
            raise UsageError(CA_WITHOUT_CERTIFICATE())
        _print_request(request(settings), arguments.request, as_json=arguments.json)
    else:
        _print_installed(install(settings, arguments.certificate, arguments.ca), as_json=arguments.json)
    return 0


def request(settings: Settings) -> Requested:
    """This site's certificate request; its key is made durable first where there was none.

    Raises:
        ConfigurationError: the key that is there cannot be used, or the site's name is reserved.
        StorageError: the key cannot be written.
    """
    path = Path(settings.broker.key)
    if path.exists():
        key = load_key(_read_private(path), None)
    else:
        key = make_key()
        write_atomically(path, key_to_pem(key, None), mode=0o600)
        _hand_over(path)
    try:
        text = make_request(key, settings.site.name).decode()
    except WireError as error:
        raise ConfigurationError(SITE_NAME_UNUSABLE(reason=error)) from error
    fingerprint = key_fingerprint(key.public_key())
    return Requested(site=settings.site.name, key=str(path), fingerprint=fingerprint, request=text)


def install(settings: Settings, certificate: Path, ca: Path | None) -> Installed:
    """Installs the certificate, and the authority's where it is given.

    Raises:
        ConfigurationError: it is not for this site and key, not valid now, or not from the authority.
        StorageError: a file cannot be written.
    """
    broker = settings.broker
    ca_pem, leaf_pem = _read(ca or Path(broker.ca)), _read(certificate)
    signer = Signer(leaf_pem, _read_private(Path(broker.key)))
    try:
        identity = Trust(ca_pem).identify(signer.certificate, datetime.now(UTC))
    except WireError as error:
        raise ConfigurationError(SIGNED_UNUSABLE(path=certificate, reason=error)) from error
    if identity.name != settings.site.name:
        raise ConfigurationError(
            OTHER_SITES_CERTIFICATE(path=certificate, other=identity.name, name=settings.site.name)
        )
    if ca is not None:
        write_atomically(Path(broker.ca), ca_pem, mode=0o644)
    write_atomically(Path(broker.certificate), leaf_pem, mode=0o644)
    not_after = x509.load_der_x509_certificate(signer.certificate).not_valid_after_utc
    return Installed(
        site=identity.name, certificate=broker.certificate, ca=broker.ca, not_after=not_after.isoformat()
    )


def _print_request(made: Requested, target: str, *, as_json: bool) -> None:
    if target != STDOUT:
        write_atomically(Path(target), made.request.encode(), mode=0o644)
    if as_json:
        print_json(made)
        return
    if target == STDOUT:
        print_lines(*made.request.splitlines())
    tell_lines(
        str(REQUEST_MADE(site=made.site)),
        f"  {made.fingerprint}",
        str(COMPARE_REQUEST()),
    )


def _print_installed(done: Installed, *, as_json: bool) -> None:
    if as_json:
        print_json(done)
    else:
        print_lines(f"Site {done.site} is enrolled until {done.not_after}: sudo systemctl restart fedagent")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(CANNOT_READ(path=path, reason=error.strerror)) from error


def _read_private(path: Path) -> bytes:
    data = _read(path)
    if path.stat().st_mode & _LOOSE:
        raise ConfigurationError(KEY_READ_BY_OTHERS(path=path))
    return data


def _hand_over(path: Path) -> None:
    """The service must read its key; root makes it."""
    if os.geteuid() != 0:
        return
    try:
        pwd.getpwnam(SERVICE_USER)
    except KeyError:
        return
    shutil.chown(path, SERVICE_USER)
