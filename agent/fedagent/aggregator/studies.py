# SPDX-License-Identifier: Apache-2.0
"""A study before it runs: read from its file and checked, created, started.

Rule: what is accepted here can be announced, trained and folded; what cannot is refused before any site hears of it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from fedagent.aggregator.store import Store
from fedagent.aggregator.tables import STUDY_TABLE, StudyEvent, advance
from fedagent.conditions.aggregator import (
    CANNOT_START,
    NO_METRICS_TO_STOP_BY,
    STUDY_FILE_WRONG,
    STUDY_NAME_TAKEN,
    STUDY_TOO_LONG,
    TOO_MANY_TENSORS,
)
from fedagent.conditions.condition import Said
from fedagent.errors import ConfigurationError, UsageError
from fedagent.storage.toml import read_toml
from fedagent.wire.codec import encode
from fedagent.wire.study import Identity, Study, model_shapes
from fedagent.wire.tensors import HEADER_BYTES, encode_header
from fedagent.wire.topics import CONTROL_BYTES

_ANNOUNCEMENT_BYTES: Final = 4_096
"""What an announcement has beside the study: model reference, key, deadline."""


def read_study(path: Path) -> Study:
    """The study in the file.

    Raises:
        ConfigurationError: with every problem.
    """
    study = read_toml(path, Study)
    problems = [said.text for said in find_problems(study)]
    if problems:
        raise ConfigurationError(STUDY_FILE_WRONG(path=path, problems="; ".join(problems)))
    return study


def create(store: Store, study: Study, now: float) -> None:
    """The study exists, not yet started; creating the very same one again changes nothing.

    Raises:
        UsageError: another study has this name.
    """
    known = store.find_study(study.name)
    if known is None:
        with store.database.transaction() as connection:
            store.add_study(connection, study, now)
    elif known.study != study:
        raise UsageError(STUDY_NAME_TAKEN(study=study.name))


def start(store: Store, name: str, now: float) -> bool:
    """The study runs; False where it did already.

    Raises:
        UsageError: no such study, or it has ended.
    """
    record = store.study(name)
    if (record.phase, StudyEvent.START) not in STUDY_TABLE:
        raise UsageError(CANNOT_START(study=name, phase=record.phase))
    phase = advance(STUDY_TABLE, record.phase, StudyEvent.START)
    with store.database.transaction() as connection:
        store.move_study(connection, name, phase, now)
    return phase is not record.phase


def find_problems(study: Study) -> Iterator[Said]:
    """What the study's types do not say: each names the key and what is wrong with it."""
    if isinstance(study.task, Identity) and study.federation.early_stopping is not None:
        yield NO_METRICS_TO_STOP_BY()
    shapes = model_shapes(study.task)
    if len(encode_header(shapes)) > HEADER_BYTES:
        yield TOO_MANY_TENSORS(count=len(shapes))
    if len(encode(study)) > CONTROL_BYTES - _ANNOUNCEMENT_BYTES:
        allowed = CONTROL_BYTES - _ANNOUNCEMENT_BYTES
        yield STUDY_TOO_LONG(bytes=len(encode(study)), allowed=allowed)
