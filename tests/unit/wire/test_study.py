# SPDX-License-Identifier: Apache-2.0
"""What a study cannot mean is refused where it is read, with its path."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from fedagent.errors import WireError
from fedagent.wire import study as s
from fedagent.wire.codec import decode
from fedagent.wire.values import RESERVED_NAMES
from tests.fakes.examples import OTHER_STUDY, STUDY
from tests.fakes.strategies import values_of

Plain = dict[str, Any]


def plain(study: s.Study) -> Plain:
    """The study as a peer could write it."""
    value: Plain = msgspec.to_builtins(study)
    return value


def read(value: Plain) -> s.Study:
    return decode(msgspec.msgpack.encode(value), s.Study, limit_bytes=1_000_000)


def in_task(**fields: object) -> Callable[[Plain], None]:
    return lambda study: study["task"].update(fields)


def in_column(index: int, **fields: object) -> Callable[[Plain], None]:
    return lambda study: study["task"]["columns"][index].update(fields)


def in_label(**fields: object) -> Callable[[Plain], None]:
    return lambda study: study["task"]["label"].update(fields)


def in_federation(**fields: object) -> Callable[[Plain], None]:
    return lambda study: study["federation"].update(fields)


def in_study(**fields: object) -> Callable[[Plain], None]:
    return lambda study: study.update(fields)


def column_split(**fields: object) -> Callable[[Plain], None]:
    return in_task(split={"by": "column", "column": "part", **fields})


def identity(**fields: object) -> Callable[[Plain], None]:
    return in_study(task={"name": "identity", **fields})


REFUSED: dict[str, tuple[Callable[[Plain], None], str, str]] = {
    "an unknown key": (in_study(extra=1), "unknown field `extra`", "$"),
    "an unknown task": (in_study(task={"name": "cnn"}), "Invalid value 'cnn'", "$.task.name"),
    "a task's next version": (in_task(version=2), "Invalid enum value 2", "$.task.version"),
    "no columns": (in_task(columns=[]), "length >= 1", "$.task.columns"),
    "a column twice": (in_column(1, name="age"), "'age' is there twice", "$.task"),
    "the label among the columns": (in_label(column="age"), "'age' is there twice", "$.task"),
    "the split among the columns": (column_split(column="age"), "'age' is there twice", "$.task"),
    "the split in the label": (column_split(column="disease"), "'disease' is there twice", "$.task"),
    "one word for both parts of a split": (
        column_split(test="train"),
        "'train' is there twice",
        "$.task.split",
    ),
    "the snapshot's own column": (in_column(0, name="__patient"), "matching regex", "$.task.columns[0].name"),
    "a minimum above the maximum": (in_column(0, minimum=121.0), "above its maximum", "$.task.columns[0]"),
    "an infinite minimum": (in_column(0, minimum=float("-inf")), ">= -1e+30", "$.task.columns[0].minimum"),
    "a mean that is no number": (in_column(0, mean=float("nan")), ">= -1e+30", "$.task.columns[0].mean"),
    "a deviation of 0": (
        in_column(0, standard_deviation=0.0),
        "> 0.0",
        "$.task.columns[0].standard_deviation",
    ),
    "one category": (in_column(1, categories=["4"]), "length >= 2", "$.task.columns[1].categories"),
    "a category twice": (
        in_column(1, categories=["4", "4"]),
        "category '4' is there twice",
        "$.task.columns[1]",
    ),
    "a category twice, as a number": (
        in_column(1, categories=["4", "4.0"]),
        "are the same number",
        "$.task.columns[1]",
    ),
    "a baseline that is no category": (in_column(1, baseline="5"), "baseline '5'", "$.task.columns[1]"),
    "a class twice": (in_label(classes=["no", "no"]), "class 'no' is there twice", "$.task.label"),
    "a class twice, as a number": (in_label(classes=["0", "0.0"]), "are the same number", "$.task.label"),
    "a fixed normalisation without a mean": (in_column(0, mean=None), "fixed normalisation", "$.task"),
    "a fixed normalisation without a deviation": (
        in_column(0, standard_deviation=None),
        "fixed normalisation",
        "$.task",
    ),
    "an infinite learning rate": (
        in_task(optimizer={"name": "adam", "learning_rate": float("inf")}),
        "<= 1e+30",
        "$.task.optimizer.learning_rate",
    ),
    "an infinite decay": (
        in_task(optimizer={"name": "sgd", "learning_rate": 0.1, "weight_decay": float("inf")}),
        "<= 1e+30",
        "$.task.optimizer.weight_decay",
    ),
    "more tensors than parameters": (identity(parameters=2, tensors=3), "cannot share", "$.task"),
    "no sites": (in_federation(sites=[]), "length >= 1", "$.federation.sites"),
    "a site twice": (
        in_federation(sites=["clinic-a", "clinic-a"]),
        "'clinic-a' is there twice",
        "$.federation",
    ),
    "a quorum above the sites": (in_federation(quorum=4), "a quorum of 4", "$.federation"),
    "a deadline that is no number": (
        in_federation(deadline_s=float("nan")),
        "> 0.0",
        "$.federation.deadline_s",
    ),
    "a cell of 9": (in_study(privacy={"minimum_cell": 9}), ">= 10", "$.privacy.minimum_cell"),
    "an infinite clip": (in_study(privacy={"clip_norm": float("inf")}), "<= 1e+30", "$.privacy.clip_norm"),
    "chunks of an odd size": (in_study(chunk_bytes=65_537), "multiple of 4096", "$.chunk_bytes"),
    "more model than a manifest covers": (in_task(hidden=[65_536, 65_536]), "does not fit", "$"),
    "more numbers than a manifest covers": (
        lambda study: study.update(task={"name": "identity", "parameters": 300_000_000}, chunk_bytes=65_536),
        "does not fit",
        "$",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_no_study_has(case: str) -> None:
    change, problem, path = REFUSED[case]
    value = plain(STUDY)
    change(value)
    with pytest.raises(WireError) as caught:
        read(value)
    assert problem in str(caught.value)
    assert caught.value.path == path


@pytest.mark.parametrize("word", sorted(RESERVED_NAMES))
def test_neither_study_nor_site_has_a_reserved_name(word: str) -> None:
    for change in (in_study(name=word), in_federation(sites=["clinic-a", word], quorum=1)):
        value = plain(STUDY)
        change(value)
        with pytest.raises(WireError):
            read(value)


ACCEPTED: dict[str, Callable[[Plain], None]] = {
    "nothing changed": lambda _: None,
    "a minimum alone": in_column(0, maximum=None),
    "a maximum alone": in_column(0, minimum=None),
    "one allowed value": in_column(0, minimum=120.0),
    "categories that are words": in_column(1, categories=["a", "b"], baseline=None),
    "categories of which one is a number": in_column(1, categories=["1", "1.0 or so"], baseline=None),
    "a column that says the split": column_split(),
    "no mean where the site's own is taken": lambda study: (
        in_column(0, mean=None, standard_deviation=None)(study),
        in_task(normalisation={"by": "site"})(study),
        None,
    )[-1],
    "a quorum of all": in_federation(quorum=3),
    "as many tensors as parameters": identity(parameters=3, tensors=3),
    "the largest measurement": lambda study: study.update(
        task={"name": "identity", "parameters": 4_000_000_000}, chunk_bytes=1_048_576
    ),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_a_study_may_have(case: str) -> None:
    value = plain(STUDY)
    ACCEPTED[case](value)
    read(value)


@settings(max_examples=20)
@given(study=values_of(s.Study))
def test_a_study_has_one_digest(study: s.Study) -> None:
    digest = s.study_digest(study)
    assert len(digest) == 32
    assert s.study_digest(read(plain(study))) == digest
    assert s.study_digest(msgspec.structs.replace(study, seed=(study.seed + 1) % 2**62)) != digest


def test_columns_become_features() -> None:
    assert isinstance(STUDY.task, s.TabularClassifier)
    assert [s.feature_count(column) for column in STUDY.task.columns] == [1, 3, 1]
    assert s.feature_count(s.Category(name="sex", categories=("f", "m"))) == 2


def test_a_table_has_layers() -> None:
    assert s.model_shapes(STUDY.task) == {
        "layers.0.weight": (16, 5),
        "layers.0.bias": (16,),
        "layers.1.weight": (8, 16),
        "layers.1.bias": (8,),
        "layers.2.weight": (1, 8),
        "layers.2.bias": (1,),
    }


def test_more_than_two_classes_have_an_output_each() -> None:
    assert isinstance(STUDY.task, s.TabularClassifier)
    label = s.Label(column="disease", classes=("0", "1", "2"))
    task = msgspec.structs.replace(STUDY.task, label=label, hidden=())
    assert s.model_shapes(task) == {"layers.0.weight": (3, 5), "layers.0.bias": (3,)}


def test_a_measurements_parameters_are_shared_evenly() -> None:
    shapes = s.model_shapes(OTHER_STUDY.task)
    assert shapes == {"tensor.0": (333_334,), "tensor.1": (333_333,), "tensor.2": (333_333,)}
