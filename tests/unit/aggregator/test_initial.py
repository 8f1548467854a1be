# SPDX-License-Identifier: Apache-2.0
"""The model before the first round."""

import hashlib

import msgspec
import numpy as np
import pytest

from fedagent.aggregator import initial
from fedagent.aggregator.initial import initial_model
from fedagent.wire.study import Study, model_shapes
from fedagent.wire.tensors import encode_header, file_bytes, parse_header
from tests.fakes.examples import OTHER_STUDY, STUDY


def made(study: Study) -> bytes:
    return b"".join(initial_model(study))


@pytest.mark.parametrize("study", [STUDY, OTHER_STUDY], ids=["tabular", "identity"])
def test_the_model_is_the_file_that_the_study_describes(study: Study) -> None:
    data, shapes = made(study), model_shapes(study.task)
    assert len(data) == file_bytes(shapes)
    assert parse_header(data, len(data)).shapes == shapes


def test_the_same_study_gives_the_same_bytes_as_ever() -> None:
    digest = hashlib.sha256(made(STUDY)).hexdigest()
    assert digest == hashlib.sha256(made(STUDY)).hexdigest()
    assert digest == GOLDEN


def test_another_seed_gives_another_model() -> None:
    assert made(STUDY) != made(msgspec.structs.replace(STUDY, seed=1))


def test_weights_and_biases_lie_within_one_over_the_root_of_fan_in() -> None:
    data = made(STUDY)
    values = np.frombuffer(data, dtype="<f4", offset=len(encode_header(model_shapes(STUDY.task))))
    first = 5 * 16 + 16
    assert 0.9 / np.sqrt(5) < np.abs(values[:first]).max() <= 1 / np.sqrt(5)
    assert 0.8 / 4 < np.abs(values[first : first + 16 * 8 + 8]).max() <= 1 / 4


def test_the_identity_task_begins_with_zeros() -> None:
    data = made(OTHER_STUDY)
    assert not any(data[len(encode_header(model_shapes(OTHER_STUDY.task))) :])


def test_the_size_of_the_pieces_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = made(STUDY)
    monkeypatch.setattr(initial, "PIECE", 7)
    assert made(STUDY) == whole


GOLDEN = "b12578bdbb9044667d427e9e75cb32b23eb0c8de31aef8016fa6daafa0e33ba4"
