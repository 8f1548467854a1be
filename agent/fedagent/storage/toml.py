# SPDX-License-Identifier: Apache-2.0
"""TOML files to frozen values: one reader for settings, studies, datasets and approvals.

Rule: what is wrong is named by file and key path, and the nearest known key is suggested.
"""

import difflib
import re
import tomllib
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from fedagent.conditions.condition import Said
from fedagent.conditions.settings import CANNOT_READ, NOT_TOML, UNKNOWN_KEY, UNKNOWN_KEY_NEAR, WRONG_VALUE
from fedagent.errors import ConfigurationError

T = TypeVar("T")

_UNKNOWN: Final = re.compile(r"Object contains unknown field `(?P<key>[^`]*)`(?: - at `(?P<path>\$[^`]*)`)?")


def read_toml(path: Path, kind: type[T], *, overlays: tuple[Path, ...] = ()) -> T:
    """The value in the file, later files' tables laid over earlier ones key by key.

    Raises:
        ConfigurationError: unreadable, not TOML, unknown key, wrong type, out of range.
    """
    merged: dict[str, Any] = {}
    for each in (path, *overlays):
        _merge(merged, _load(each))
    where = str(path) if not overlays else f"{path} (with {', '.join(overlay.name for overlay in overlays)})"
    try:
        return msgspec.convert(merged, kind, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigurationError(_explain(str(error), where, kind)) from error


def _load(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(CANNOT_READ(path=path, reason=error.strerror)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(NOT_TOML(path=path, reason=error)) from error


def _merge(base: dict[str, Any], over: dict[str, Any]) -> None:
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = value


def _explain(text: str, where: str, kind: object) -> Said:
    found = _UNKNOWN.match(text)
    if not found:
        problem, _, path = text.partition(" - at `$")
        return WRONG_VALUE(path=where, key=path.rstrip("`").lstrip(".") or "the file", problem=problem)
    key = f"{found['path'] or '$'}.{found['key']}".removeprefix("$.")
    near = difflib.get_close_matches(found["key"], _field_names(kind), n=1)
    return UNKNOWN_KEY_NEAR(path=where, key=key, near=near[0]) if near else UNKNOWN_KEY(path=where, key=key)


def _field_names(kind: object) -> list[str]:
    """Every key of every table that the type can hold (a suggestion need not know the table)."""
    names: list[str] = []
    pending: list[msgspec.inspect.Type] = [msgspec.inspect.type_info(kind)]
    seen: set[type] = set()
    while pending:
        info = pending.pop()
        match info:
            case msgspec.inspect.StructType() if info.cls not in seen:
                seen.add(info.cls)
                names += [field.encode_name for field in info.fields]
                pending += [field.type for field in info.fields]
            case msgspec.inspect.UnionType():
                pending += info.types
            case msgspec.inspect.TupleType():
                pending += info.item_types
            case msgspec.inspect.VarTupleType():
                pending.append(info.item_type)
            case _:
                pass
    return names
