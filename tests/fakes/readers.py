# SPDX-License-Identifier: Apache-2.0
"""What a reader of the wire expects, as JSON Schema: recorded, it is the reader of a version that is not installed any more."""

from typing import Any, Final, get_args

import msgspec

from fedagent.security.envelope import Envelope
from fedagent.wire import frames as f
from fedagent.wire import messages as m
from fedagent.wire.manifest import Manifest
from fedagent.wire.study import Study

READ: Final[tuple[type[msgspec.Struct], ...]] = (
    *get_args(m.SiteMessage),
    *get_args(m.AggregatorMessage),
    *get_args(f.SupervisorFrame),
    *get_args(f.DaemonFrame),
    *get_args(f.SupervisorToWorker),
    *get_args(f.WorkerFrame),
    m.UpdateSecret,
    Manifest,
    Study,
    Envelope,
)
"""Whatever goes over a wire, or into a file that outlives its program."""

Reader = dict[str, Any]


def readers() -> dict[str, Reader]:
    """Today's reader of each Struct that goes over the wire, those inside others too; without what is only for people."""
    _, found = msgspec.json.schema_components(READ)
    return {name: _bare(reader) for name, reader in sorted(found.items())}


def _bare(reader: Any) -> Any:  # noqa: ANN401 (any JSON)
    if isinstance(reader, dict):
        return {key: _bare(value) for key, value in reader.items() if key not in {"title", "description"}}
    return [_bare(each) for each in reader] if isinstance(reader, list | tuple) else reader


def differences(recorded: dict[str, Reader], today: dict[str, Reader]) -> list[str]:
    """What one of the two could say that the other would not read, or read otherwise."""
    found = []
    for name, reader in recorded.items():
        ours = today.get(name)
        if ours is None:
            found.append(f"{name} is gone")
            continue
        found += [
            f"{name}.{key} was {value!r}, is {ours.get('properties', {}).get(key)!r}"
            for key, value in reader.get("properties", {}).items()
            if not _same(value, ours.get("properties", {}).get(key))
        ]
        rest = reader.keys() | ours.keys()
        found += [
            f"{name}: {key} was {reader.get(key)!r}, is {ours.get(key)!r}"
            for key in sorted(rest - {"properties"})
            if reader.get(key) != ours.get(key)
        ]
    return found


def _same(recorded: Any, today: Any) -> bool:  # noqa: ANN401 (any JSON)
    """Equal; or a union that has got another kind, which who does not know it refuses."""
    if isinstance(recorded, dict) and isinstance(today, dict) and "discriminator" in recorded:
        return all(each in today.get("anyOf", ()) for each in recorded["anyOf"])
    return bool(recorded == today)
