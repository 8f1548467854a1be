# SPDX-License-Identifier: Apache-2.0
"""``fedaggregator init``: makes a study centre's authority, keys, broker configuration and settings in one folder.

Rule: never writes over an authority that is there. The settings are written last: where they lack, it goes on with what
an earlier try made.
"""

import argparse
import getpass
import ipaddress
import os
import pwd
import shutil
from pathlib import Path
from typing import Final

import msgspec
import tomli_w

from fedagent.aggregator import broker
from fedagent.aggregator.authority import Authority
from fedagent.aggregator.settings import (
    DEFAULT_PATH,
    AggregatorBroker,
    AggregatorPaths,
    AggregatorSettings,
)
from fedagent.cli import aggregator_options as options
from fedagent.cli.output import print_lines
from fedagent.conditions.commands import CENTRE_FOLDER
from fedagent.errors import StorageError
from fedagent.storage import disk
from fedagent.storage.files import write_atomically

_AGGREGATOR_USER: Final = "fedaggregator"
_BROKER_USER: Final = "mosquitto"
_FOLDER_MODE: Final = 0o777
"""Less the umask: the broker's user must get at its files."""


def add_commands(commands: options.Commands) -> None:
    """Adds the command."""
    summary = "make authority, keys, broker configuration and settings"
    parser = commands.add_parser("init", help=summary, description=summary)
    parser.set_defaults(command=run)
    parser.add_argument(
        "folder",
        type=Path,
        nargs="?",
        default=DEFAULT_PATH.parent,
        help="where they go (default: %(default)s)",
    )
    parser.add_argument(
        "--host",
        action="append",
        required=True,
        help="name or address that sites connect to; may be repeated",
    )
    parser.add_argument("--port", type=int, default=8883, help="of the broker (default: %(default)s)")
    options.add_password(parser)


def run(arguments: argparse.Namespace) -> int:
    """Makes everything."""
    folder = arguments.folder.absolute()
    hosts: list[str] = arguments.host
    secret = options.password(arguments, twice=True)
    authority = Authority(folder / "authority")
    try:
        disk.make_folder(folder, _FOLDER_MODE)
    except OSError as error:
        raise StorageError(CENTRE_FOLDER(path=folder, reason=error.strerror)) from error
    if authority.certificate_path.exists() and not (folder / DEFAULT_PATH.name).exists():
        authority.open(secret)
    else:
        authority.create(secret)
    write_atomically(folder / "ca.crt", authority.certificate_path.read_bytes(), mode=0o644)
    authority.issue_aggregator().install(folder / "aggregator.crt", folder / "aggregator.key")
    addresses = [host for host in hosts if _is_address(host)]
    names = [host for host in hosts if host not in addresses]
    authority.issue_broker(names, addresses).install(folder / "broker.crt", folder / "broker.key")
    _write_broker(folder, arguments.port)
    _write_settings(folder, hosts[0], arguments.port)
    print_lines(
        f"made a study centre in {folder}",
        f"  broker: mosquitto -c {folder}/mosquitto.conf",
        f"  aggregator: fedaggregator run --config {folder}/{DEFAULT_PATH.name}",
        f"  for the sites: {folder}/ca.crt",
        f"keep a copy of {folder}/authority and of its password somewhere safe",
    )
    return 0


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _write_broker(folder: Path, port: int) -> None:
    user = None if folder == DEFAULT_PATH.parent else getpass.getuser()
    write_atomically(
        folder / "mosquitto.conf", broker.configuration(folder, port=port, user=user).encode(), mode=0o644
    )
    # mosquitto warns of an access list that others may read.
    write_atomically(folder / "acl", broker.ACL.encode(), mode=0o600)
    if user is None:
        _give(folder / "broker.key", _BROKER_USER)
        _give(folder / "acl", _BROKER_USER)
        _give(folder / "aggregator.key", _AGGREGATOR_USER)


def _give(path: Path, user: str) -> None:
    """The file belongs to the service's user, where the package has made one."""
    try:
        pwd.getpwnam(user)
    except KeyError:
        return
    if os.geteuid() == 0:
        shutil.chown(path, user)


def _write_settings(folder: Path, host: str, port: int) -> None:
    here = folder == DEFAULT_PATH.parent
    made = AggregatorSettings(
        broker=AggregatorBroker(
            host=host,
            port=port,
            ca=str(folder / "ca.crt"),
            certificate=str(folder / "aggregator.crt"),
            key=str(folder / "aggregator.key"),
        ),
        paths=AggregatorPaths()
        if here
        else AggregatorPaths(state=str(folder / "state"), runtime=str(folder / "run")),
    )
    write_atomically(
        folder / DEFAULT_PATH.name, tomli_w.dumps(msgspec.to_builtins(made)).encode(), mode=0o644
    )
