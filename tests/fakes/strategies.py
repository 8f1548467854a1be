# SPDX-License-Identifier: Apache-2.0
"""Hypothesis strategies from the wire's own types: what a limit in a type allows is generated, and nothing else."""

from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

from fedagent.wire import study as s
from fedagent.wire.manifest import Manifest, chunk_count
from fedagent.wire.messages import MetricValue, UpdateSecret
from fedagent.wire.values import RESERVED_NAMES

LONGEST = 6
"""Items of a generated tuple: more shows nothing new."""


def values_of(kind: object) -> st.SearchStrategy[Any]:
    """Values of a type, a Struct or a union of them."""
    return _values(inspect.type_info(kind))


def _values(info: inspect.Type) -> st.SearchStrategy[Any]:
    return _BY_KIND[type(info)](info)


def _bytes(info: inspect.BytesType) -> st.SearchStrategy[bytes]:
    least = info.min_length or 0
    return st.binary(min_size=least, max_size=min(info.max_length or 64, max(64, least)))


def _tuples(info: inspect.VarTupleType) -> st.SearchStrategy[tuple[Any, ...]]:
    longest = min(info.max_length or LONGEST, LONGEST)
    return st.lists(_values(info.item_type), min_size=info.min_length or 0, max_size=longest).map(tuple)


def _structs(info: inspect.StructType) -> st.SearchStrategy[Any]:
    return _LAWFUL[info.cls]() if info.cls in _LAWFUL else _struct(info)


def _integers(info: inspect.IntType) -> st.SearchStrategy[int]:
    step = info.multiple_of or 1
    least = info.ge if info.ge is not None else -(2**63)
    most = info.le if info.le is not None else 2**64 - 1
    return st.integers(-(-least // step), most // step).map(lambda number: number * step)


def _floats(info: inspect.FloatType) -> st.SearchStrategy[float]:
    return st.floats(
        min_value=info.ge if info.ge is not None else info.gt,
        max_value=info.le if info.le is not None else info.lt,
        exclude_min=info.gt is not None,
        exclude_max=info.lt is not None,
        allow_nan=False,
    )


def _texts(info: inspect.StrType) -> st.SearchStrategy[str]:
    if info.pattern is None:
        return st.text(st.characters(codec="utf-8"), min_size=info.min_length or 0, max_size=30)
    most = info.max_length or 1000
    return st.from_regex(info.pattern).filter(lambda text: len(text) <= most and text not in RESERVED_NAMES)


_BY_KIND: dict[type, Callable[[Any], st.SearchStrategy[Any]]] = {
    inspect.NoneType: lambda _: st.none(),
    inspect.BoolType: lambda _: st.booleans(),
    inspect.IntType: _integers,
    inspect.FloatType: _floats,
    inspect.StrType: _texts,
    inspect.BytesType: _bytes,
    inspect.LiteralType: lambda info: st.sampled_from(info.values),
    inspect.EnumType: lambda info: st.sampled_from(list(info.cls)),
    inspect.UnionType: lambda info: st.one_of([_values(each) for each in info.types]),
    inspect.VarTupleType: _tuples,
    inspect.StructType: _structs,
}


def _struct(info: inspect.StructType, **given: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    fields = {field.name: given.get(field.name, _values(field.type)) for field in info.fields}
    return st.builds(info.cls, **fields)


def _of(kind: type, **given: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    return _struct(info, **given)


# --- types whose fields bind each other --------------------------------------------------------------------------


def _words(least: int) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.from_regex(r"\A[b-h]{1,9}\Z"), min_size=least, max_size=LONGEST, unique=True).map(
        tuple
    )


def _manifests() -> st.SearchStrategy[Manifest]:
    def fill(size_and_chunk: tuple[int, int]) -> st.SearchStrategy[Manifest]:
        size, chunk = size_and_chunk
        count = chunk_count(size, chunk)
        digests = st.binary(min_size=32, max_size=32)
        return st.lists(digests, min_size=count, max_size=count).map(
            lambda chunks: Manifest(size_bytes=size, chunk_bytes=chunk, chunks=tuple(chunks))
        )

    chunk_bytes = st.sampled_from((65_536, 262_144, 1_048_576))
    return st.tuples(st.integers(0, 400_000), chunk_bytes).flatmap(fill)


def _numerics() -> st.SearchStrategy[s.Numeric]:
    limits = st.one_of(st.none(), st.floats(-1e30, 0.0))
    return _of(s.Numeric, minimum=limits, maximum=limits.map(lambda value: None if value is None else -value))


def _categories() -> st.SearchStrategy[s.Category]:
    def fill(words: tuple[str, ...]) -> st.SearchStrategy[s.Category]:
        return _of(
            s.Category, categories=st.just(words), baseline=st.one_of(st.none(), st.sampled_from(words))
        )

    return _words(2).flatmap(fill)


def _classifiers() -> st.SearchStrategy[s.TabularClassifier]:
    def fill(columns: list[s.Column]) -> st.SearchStrategy[s.TabularClassifier]:
        named = tuple(
            msgspec.structs.replace(column, name=f"c{index}") for index, column in enumerate(columns)
        )
        return _of(
            s.TabularClassifier,
            columns=st.just(named),
            label=_of(s.Label, column=st.just("label"), classes=_words(2)),
            split=values_of(s.SeededSplit | s.FileSplit),
            normalisation=values_of(s.SiteNormalisation | s.NoNormalisation),
            hidden=st.lists(st.integers(1, 64), max_size=3).map(tuple),
        )

    return st.lists(values_of(s.Column), min_size=1, max_size=LONGEST).flatmap(fill)


def _identities() -> st.SearchStrategy[s.Identity]:
    return _of(s.Identity, parameters=st.integers(50, 1_000_000), tensors=st.integers(1, 50))


def _federations() -> st.SearchStrategy[s.Federation]:
    def fill(sites: tuple[str, ...]) -> st.SearchStrategy[s.Federation]:
        return _of(s.Federation, sites=st.just(sites), quorum=st.integers(1, len(sites)))

    return _words(1).map(lambda words: tuple(f"site-{word}" for word in words)).flatmap(fill)


def _secrets() -> st.SearchStrategy[UpdateSecret]:
    metrics = st.lists(values_of(MetricValue), max_size=LONGEST, unique_by=lambda metric: metric.name)
    return _of(UpdateSecret, metrics=metrics.map(tuple))


_LAWFUL: dict[type, Callable[[], st.SearchStrategy[Any]]] = {
    Manifest: _manifests,
    s.Numeric: _numerics,
    s.Category: _categories,
    s.Label: lambda: _of(s.Label, classes=_words(2)),
    s.ColumnSplit: lambda: _of(s.ColumnSplit, train=st.just("train"), test=st.just("test")),
    s.TabularClassifier: _classifiers,
    s.Identity: _identities,
    s.Federation: _federations,
    UpdateSecret: _secrets,
}
