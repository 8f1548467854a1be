# SPDX-License-Identifier: Apache-2.0
"""Every key of every TOML file: what is wrong with it is said with its path, and nothing else is."""

import copy
import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
import tomli_w

from fedagent.aggregator.settings import AggregatorSettings
from fedagent.core.approval import Approval
from fedagent.core.settings import BrokerSettings, GovernorSettings, Settings, SiteSettings, TimeWindow
from fedagent.errors import ConfigurationError
from fedagent.storage.toml import read_toml
from fedagent.trainer.datasets import (
    ColumnMapping,
    CsvSource,
    DatasetDefinition,
    ParquetSource,
    PostgresqlSource,
)
from tests.fakes.examples import STUDY

NO_TOML_TYPE_OF_OURS = dt.date(1979, 5, 27)

GOOD: dict[str, object] = {
    "fedagent.toml": Settings(
        site=SiteSettings(name="clinic-a"),
        broker=BrokerSettings(host="broker"),
        governor=GovernorSettings(windows=(TimeWindow(), TimeWindow(start="20:00", end="06:00"))),
    ),
    "fedaggregator.toml": AggregatorSettings(),
    "study.toml": STUDY,
    "approval.toml": Approval(
        study="heart", digest="0" * 64, dataset="patients", approved_by="root", approved_at="today", rounds=3
    ),
    "dataset.toml": DatasetDefinition(
        name="patients",
        source=(
            CsvSource(path="/data/a.csv", columns=("a", "b"), split="train"),
            ParquetSource(path="/data/b.parquet", split="test"),
            PostgresqlSource(database="clinic", user="fedagent", query="SELECT 1", split="test"),
        ),
        columns={
            "age": ColumnMapping(type="number", local="Alter"),
            "sex": ColumnMapping(type="text", values={"1": "f"}),
        },
        patient="id",
        opt_out="/etc/opt-out.txt",
    ),
}


def without_nulls(value: Any) -> Any:  # noqa: ANN401 (what TOML holds)
    """TOML has no null: the key is not there."""
    if isinstance(value, dict):
        return {key: without_nulls(each) for key, each in value.items() if each is not None}
    if isinstance(value, list | tuple):
        return [without_nulls(each) for each in value]
    return value


class Place(NamedTuple):
    """A key of a file: the steps to it, and how a message writes them."""

    file: str
    steps: tuple[str | int, ...]

    @property
    def text(self) -> str:
        return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.steps).lstrip(
            "."
        )

    def put(self, value: object) -> dict[str, Any]:
        """The good file with this value here."""
        whole: dict[str, Any] = copy.deepcopy(without_nulls(msgspec.to_builtins(GOOD[self.file])))
        inner: Any = whole
        for step in self.steps[:-1]:
            inner = inner[step]
        inner[self.steps[-1]] = value
        return whole


def places(value: Any, *steps: str | int) -> Iterator[tuple[tuple[str | int, ...], Any]]:  # noqa: ANN401
    if steps:
        yield steps, value
    if isinstance(value, dict):
        for key, each in value.items():
            yield from places(each, *steps, key)
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from places(each, *steps, index)


def every(*, tables: bool) -> list[Any]:
    """Every key of every file; only those that hold a table of fixed keys where ``tables``."""
    found = []
    for file, good in GOOD.items():
        for steps, value in places(without_nulls(msgspec.to_builtins(good))):
            free = {"columns", "values"} & {steps[-1], *steps[-2:-1]} and file == "dataset.toml"
            if not tables or (isinstance(value, dict) and not (free and "type" not in value)):
                place = Place(file, steps)
                found.append(pytest.param(place, id=f"{file} {place.text}"))
    return found


def complaint(folder: Path, place: Place, whole: dict[str, Any]) -> str:
    path = folder / place.file
    path.write_text(tomli_w.dumps(whole))
    with pytest.raises(ConfigurationError) as caught:
        read_toml(path, type(GOOD[place.file]))
    assert caught.value.exit_code == 78
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(f"{path}: ")
    return line.removeprefix(f"{path}: ")


@pytest.mark.parametrize("file", GOOD)
def test_the_good_files_are_good(tmp_path: Path, file: str) -> None:
    path = tmp_path / file
    path.write_text(tomli_w.dumps(without_nulls(msgspec.to_builtins(GOOD[file]))))
    assert read_toml(path, type(GOOD[file])) == GOOD[file]


@pytest.mark.parametrize("place", every(tables=False))
def test_a_value_of_a_wrong_type_is_named_by_its_key(tmp_path: Path, place: Place) -> None:
    line = complaint(tmp_path, place, place.put(NO_TOML_TYPE_OF_OURS))
    key, _, problem = line.partition(": ")
    assert key == place.text or key == place.text.replace("sex.values.1", "sex.values[...]")
    assert problem.startswith(("expected ", "is missing", "1979"))


@pytest.mark.parametrize("place", every(tables=True))
def test_an_unknown_key_is_named_with_its_table(tmp_path: Path, place: Place) -> None:
    place = Place(place.file, (*place.steps, "xyzzy"))
    assert (
        complaint(tmp_path, place, place.put(1))
        == f"{place.text}: unknown key; remove it, or correct its name"
    )


@pytest.mark.parametrize(
    ("file", "steps", "value", "line"),
    [
        ("fedagent.toml", "mode", "trian", "'trian' is not one of 'observe', 'train'; did you mean 'train'?"),
        ("fedagent.toml", "mode", "fast", "'fast' is not one of 'observe', 'train'; correct it"),
        ("fedagent.toml", "broker.port", 70_000, "expected integer <= 65535; correct it"),
        ("fedagent.toml", "broker.port", 0, "expected integer >= 1; correct it"),
        ("fedagent.toml", "broker.port", "8883", "expected integer, got string; correct it"),
        ("fedagent.toml", "broker.hots", "b", "unknown key; did you mean 'host'?"),
        ("fedagent.toml", "site.name", "Clinic A", "is no name; use 2 to 32 of a-z, 0-9 and -, not - first"),
        ("fedagent.toml", "governor.cpu_leave_ratio", 1.5, "expected number <= 1.0; correct it"),
        ("fedagent.toml", "governor.windows[1].from", "7:30", "is no time of the day; write it as 07:30"),
        ("fedagent.toml", "governor.windows[0].days[6]", "sunday",
         "'sunday' is not one of 'fri', 'mon', 'sat', 'sun', 'thu', 'tue', 'wed'; did you mean 'sun'?"),
        ("fedagent.toml", "trainer.checkpoint_every_s", 31, "expected number <= 30.0; correct it"),
        ("fedaggregator.toml", "transfer.window", 65, "expected integer <= 64; correct it"),
        ("study.toml", "task.name", "tabular", "'tabular' is not one of 'identity', 'tabular-classifier'; correct it"),
        ("study.toml", "task.version", 2, "2 is not one of 1; correct it"),
        ("study.toml", "task.columns[1].name", "chest pain", "is no column's name; use letters, digits and _, not a digit first"),
        ("study.toml", "task.optimizer.momentum", 1.0, "expected number < 1.0; correct it"),
        ("study.toml", "privacy.minimum_cell", 9, "expected integer >= 10; correct it"),
        ("study.toml", "federation.deadline", 60, "unknown key; did you mean 'deadline_s'?"),
        ("approval.toml", "rounds", 0, "expected integer >= 1; correct it"),
        ("approval.toml", "datset", "x", "unknown key; did you mean 'dataset'?"),
        ("dataset.toml", "columns.sex.type", "txt", "'txt' is not one of 'boolean', 'number', 'text'; did you mean 'text'?"),
        ("dataset.toml", "source[2].port", -1, "expected integer >= 1; correct it"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_a_wrong_value_gets_its_line(tmp_path: Path, file: str, steps: str, value: object, line: str) -> None:
    place = Place(file, tuple(int(step) if step.isdigit() else step for step in steps.replace("[", ".").replace("]", "").split(".")))  # fmt: skip
    assert complaint(tmp_path, place, place.put(value)) == f"{steps}: {line}"


@pytest.mark.parametrize("place", [Place("fedagent.toml", ("site", "name")), Place("fedagent.toml", ("broker", "host")),
                                   Place("study.toml", ("federation", "quorum")), Place("dataset.toml", ("source", 2, "query"))],
                         ids=lambda place: place.text)  # fmt: skip
def test_a_key_that_must_be_there_is_asked_for(tmp_path: Path, place: Place) -> None:
    whole = place.put(None)
    assert complaint(tmp_path, place, without_nulls(whole)) == f"{place.text}: is missing; add it"
