# SPDX-License-Identifier: Apache-2.0
"""What msgspec found wrong in a TOML file, as a condition: the key path, the type in TOML's words, the nearest known word.

Rule: msgspec's messages are read here only; one that has a form of its own is passed on with its key path.
"""

import difflib
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
from msgspec import inspect

from fedagent.conditions.condition import Said
from fedagent.conditions.settings import (
    MISSING_KEY,
    NOT_A_CHOICE,
    NOT_A_CHOICE_NEAR,
    NOT_A_CLOCK,
    NOT_A_COLUMN,
    NOT_A_NAME,
    UNKNOWN_KEY,
    UNKNOWN_KEY_NEAR,
    WRONG_VALUE,
)
from fedagent.core.settings import CLOCK_PATTERN
from fedagent.wire.values import COLUMN_PATTERN, NAME_PATTERN

_UNKNOWN: Final = re.compile(r"Object contains unknown field `(?P<key>[^`]*)`")
_MISSING: Final = re.compile(r"Object missing required field `(?P<key>[^`]*)`")
_NO_CHOICE: Final = re.compile(r"Invalid (enum )?value (?P<value>.*)")
_STEP: Final = re.compile(r"\.?([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_PATTERNS: Final = {NAME_PATTERN: NOT_A_NAME, COLUMN_PATTERN: NOT_A_COLUMN, CLOCK_PATTERN: NOT_A_CLOCK}
_WHOLE: Final = "-"
_TOML_WORDS: Final = {
    "int": "integer",
    "float": "number",
    "str": "string",
    "bool": "boolean",
    "object": "table",
}
"""TOML's names of the types (toml.io, v1.0.0); an integer will do wherever a number will."""


def explain(text: str, where: str, value: dict[str, Any], kind: object) -> Said:
    """The condition for msgspec's message about ``value``, which was to become a ``kind``.

    Args:
        where: the file, for the person who must correct it.
    """
    problem, _, place = text.partition(" - at `")
    path = _named(re.sub(r"^(key` in `)?\$\.?", "", place).rstrip("`"), text, value, kind)
    if found := _UNKNOWN.match(problem):
        return _unknown(found["key"], path, where, kind)
    if found := _MISSING.match(problem):
        return MISSING_KEY(path=where, key=_join(path, found["key"]))
    if found := _NO_CHOICE.match(problem):
        return _no_choice(found["value"], path, where, kind)
    for pattern, condition in _PATTERNS.items():
        if problem.endswith(repr(pattern)):
            return condition(path=where, key=path)
    words = re.sub(r"`([^`]*)`", lambda match: _in_toml(match[1]), problem)
    return WRONG_VALUE(path=where, key=path or _WHOLE, problem=words[:1].lower() + words[1:])


def _named(path: str, text: str, value: dict[str, Any], kind: object) -> str:
    """The path with the name of the entry where msgspec has ``[...]``: the first that is wrong by itself, too."""
    before, found, after = path.partition("[...]")
    if not found:
        return path
    table = value
    for step in before.split("."):
        table = table[step]
    return next(
        f"{before}.{key}{after}" for key in table if _complaint(_only(value, before, key), kind) == text
    )


def _only(value: dict[str, Any], path: str, key: str) -> dict[str, Any]:
    """The value with one entry of the table at the path."""
    first, _, rest = path.partition(".")
    inner = _only(value[first], rest, key) if rest else {key: value[first][key]}
    return {**value, first: inner}


def _complaint(value: dict[str, Any], kind: object) -> str:
    try:
        msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError as error:
        return str(error)
    return ""


def _unknown(key: str, path: str, where: str, kind: object) -> Said:
    near = difflib.get_close_matches(key, _keys(inspect.type_info(kind)), n=1)
    if near:
        return UNKNOWN_KEY_NEAR(path=where, key=_join(path, key), near=near[0])
    return UNKNOWN_KEY(path=where, key=_join(path, key))


def _no_choice(written: str, path: str, where: str, kind: object) -> Said:
    value = written.strip("'") if written.startswith("'") else int(written)
    choices = sorted(_choices(inspect.type_info(kind), path), key=str)
    known = ", ".join(map(repr, choices))
    near = difflib.get_close_matches(str(value), map(str, choices), n=1)
    if near:
        return NOT_A_CHOICE_NEAR(path=where, key=path, value=value, known=known, near=near[0])
    return NOT_A_CHOICE(path=where, key=path, value=value, known=known)


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _in_toml(name: str) -> str:
    """Msgspec's name of a type, or of several, in TOML's words (TOML has no null: a key is simply not there)."""
    return " or ".join(_TOML_WORDS.get(each, each) for each in name.split(" | ") if each != "null")


def _choices(root: inspect.Type, path: str) -> set[object]:
    """The values that the type allows at the path."""
    found = [root]
    for name, index in _STEP.findall(path):
        found = [child for each in found for child in _children(each, name or index)]
    return {value for each in found if isinstance(each, inspect.LiteralType) for value in each.values}


def _children(info: inspect.Type, step: str) -> Iterable[inspect.Type]:
    """The types that one step of a path leads to; a union is all its types at once."""
    match info:
        case inspect.StructType():
            if info.tag_field == step:
                yield inspect.LiteralType((info.tag,))
            for field in info.fields:
                if field.encode_name == step:
                    yield from _alternatives(field.type)
        case inspect.VarTupleType():
            yield from _alternatives(info.item_type)
        case inspect.DictType():
            yield from _alternatives(info.value_type)
        case _:
            pass  # a plain value leads nowhere


def _alternatives(info: inspect.Type) -> tuple[inspect.Type, ...]:
    return info.types if isinstance(info, inspect.UnionType) else (info,)


def _keys(root: inspect.Type) -> Iterator[str]:
    """Every key of every table that the type can hold: a mistyped key may stand in the wrong table, too."""
    pending, seen = [root], set[type]()
    while pending:
        match info := pending.pop():
            case inspect.StructType() if info.cls not in seen:
                seen.add(info.cls)
                for field in info.fields:
                    yield field.encode_name
                    pending += _alternatives(field.type)
            case inspect.VarTupleType():
                pending += _alternatives(info.item_type)
            case inspect.DictType():
                pending += _alternatives(info.value_type)
            case _:
                pass  # a plain value has no keys
