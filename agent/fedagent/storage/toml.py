# SPDX-License-Identifier: Apache-2.0
"""TOML files to frozen values: one reader for settings, studies, datasets and approvals.

Rule: what is wrong is named by file and key path, and the nearest known key is suggested.
"""

import tomllib
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from fedagent.conditions.settings import CANNOT_READ, NOT_TOML
from fedagent.errors import ConfigurationError
from fedagent.storage.toml_problems import explain

T = TypeVar("T")


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
        raise ConfigurationError(explain(str(error), where, merged, kind)) from error


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
