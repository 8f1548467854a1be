# SPDX-License-Identifier: Apache-2.0
import hashlib
from pathlib import Path

import msgspec
import numpy as np
import pytest

from fedagent.errors import StorageError
from fedagent.trainer.checkpoint import MAGIC, Checkpoint, CheckpointIdentity, CheckpointState, load, save

IDENTITY = CheckpointIdentity(
    study=bytes(32),
    round=3,
    site="clinic-a",
    model=b"m" * 32,
    snapshot=b"s" * 32,
    build="torch 1",
    cpu="AVX2",
)
STATE = CheckpointState(identity=IDENTITY, step=17, elapsed_s=0.1, loss_sum=12.300000000000001, threads=2)


def tensors() -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    random = np.random.default_rng(1)
    return {
        "layers.0.weight": random.normal(size=(3, 5)).astype(np.float32),
        "layers.0.bias": np.array([0.0, -0.0, 1e-40], dtype=np.float32),
        "optimizer.0.step": np.array(17.0, dtype=np.float32),
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save(tmp_path / "c", Checkpoint(STATE, tensors()))
    return tmp_path / "c"


def test_what_was_saved_comes_back_bit_for_bit(path: Path) -> None:
    found = load(path, IDENTITY)
    assert found is not None
    assert found.state == STATE
    assert {name: (t.shape, t.tobytes()) for name, t in found.tensors.items()} == {
        name: (t.shape, t.tobytes()) for name, t in tensors().items()
    }


def test_only_its_owner_may_read_it(path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600


def test_none_is_there_before_the_first(tmp_path: Path) -> None:
    assert load(tmp_path / "c", IDENTITY) is None


@pytest.mark.parametrize(
    "change",
    [
        {"study": b"x" * 32},
        {"round": 4},
        {"site": "clinic-b"},
        {"model": b"x" * 32},
        {"snapshot": b"x" * 32},
        {"build": "torch 2"},
        {"cpu": "AVX512"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_trainings_checkpoint_is_ignored(path: Path, change: dict[str, object]) -> None:
    assert load(path, msgspec.structs.replace(IDENTITY, **change)) is None


def test_a_cut_checkpoint_is_ignored_at_every_length(path: Path) -> None:
    data = path.read_bytes()
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        assert load(path, IDENTITY) is None


def test_a_flipped_bit_is_found_wherever_it_is(path: Path) -> None:
    data = path.read_bytes()
    for place in range(0, len(data), 11):
        path.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        assert load(path, IDENTITY) is None


def test_a_whole_file_of_another_format_is_ignored(path: Path) -> None:
    for body in (b"", MAGIC, MAGIC + b"\xff\xff\xff\xff", MAGIC + bytes(4), b"x" * 100):
        path.write_bytes(body + hashlib.sha256(body).digest())
        assert load(path, IDENTITY) is None


def test_a_new_one_takes_the_place_of_the_old(path: Path) -> None:
    save(path, Checkpoint(msgspec.structs.replace(STATE, step=18), tensors()))
    found = load(path, IDENTITY)
    assert found is not None
    assert found.state.step == 18
    assert [each.name for each in path.parent.iterdir()] == ["c"]


def test_no_room_is_said_and_keeps_the_old(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot write"):
        save(tmp_path / "nowhere" / "c", Checkpoint(STATE, tensors()))


def test_a_folder_in_its_place_is_said(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    with pytest.raises(StorageError, match="cannot read"):
        load(tmp_path / "c", IDENTITY)
