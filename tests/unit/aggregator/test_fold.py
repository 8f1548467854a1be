# SPDX-License-Identifier: Apache-2.0
"""Folding: equal to a plain numpy computation bit for bit, whatever the order, and every fault is one site's."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedagent.aggregator.fold import Arithmetic, FoldError, FoldFiles, StagedUpdate, UnusableUpdateError, fold
from fedagent.wire.messages import Reason
from fedagent.wire.study import Identity, model_shapes
from fedagent.wire.tensors import encode_header
from tests.fakes.clinic import encrypt

CHUNK = 65_536
Vector = npt.NDArray[np.float32]


class Bench:
    """A folder with a model and updates of one shape."""

    def __init__(self, folder: Path, *, parameters: int = 50_000, tensors: int = 3) -> None:
        self.folder, self.parameters = folder, parameters
        self.header = encode_header(model_shapes(Identity(parameters=parameters, tensors=tensors)))
        self.random = np.random.default_rng(7)
        self.model = self.vector()
        (folder / "model").write_bytes(self.header + self.model.tobytes())

    def vector(self) -> Vector:
        return self.random.normal(size=self.parameters).astype("<f4")

    def update(
        self, site: str, rows: int, values: Vector | None = None, header: bytes | None = None
    ) -> StagedUpdate:
        values = self.vector() if values is None else values
        key, path = self.random.bytes(32), self.folder / f"{site}.blob"
        path.write_bytes(
            b"".join(encrypt((self.header if header is None else header) + values.tobytes(), key, CHUNK))
        )
        return StagedUpdate(site, path, key, rows)

    def fold(
        self,
        updates: list[StagedUpdate],
        *,
        rate: float = 1.0,
        momentum: float = 0.0,
        velocity: Path | None = None,
    ) -> Vector:
        files = FoldFiles(
            model=self.folder / "model",
            velocity=velocity,
            new_model=self.folder / "new",
            new_velocity=self.folder / "velocity",
        )
        fold(
            tuple(updates),
            files,
            Arithmetic(learning_rate=rate, momentum=momentum),
            header=self.header,
            chunk_bytes=CHUNK,
            stopped=lambda: False,
        )
        data = (self.folder / "new").read_bytes()
        assert data.startswith(self.header)
        return np.frombuffer(data, dtype="<f4", offset=len(self.header))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def reference(model: Vector, weighted: list[tuple[int, Vector]], rate: float = 1.0) -> Vector:
    """FedAvg as one would write it down: sites in order, float64."""
    total = sum((rows * values.astype(np.float64) for rows, values in weighted), np.zeros(model.size))
    return (model.astype(np.float64) + rate * (total / sum(rows for rows, _ in weighted))).astype("<f4")


def test_the_new_model_is_the_old_one_plus_the_mean_weighted_by_rows(bench: Bench) -> None:
    one, two, three = bench.vector(), bench.vector(), bench.vector()
    new = bench.fold([bench.update("a", 10, one), bench.update("b", 25, two), bench.update("c", 300, three)])
    assert new.tobytes() == reference(bench.model, [(10, one), (25, two), (300, three)]).tobytes()


def test_the_order_in_which_updates_came_changes_no_bit(bench: Bench) -> None:
    updates = [bench.update(site, rows) for site, rows in (("a", 3), ("b", 11), ("c", 7), ("d", 1))]
    assert bench.fold(updates).tobytes() == bench.fold(updates[::-1]).tobytes()


def test_the_servers_learning_rate_scales_the_step(bench: Bench) -> None:
    one = bench.vector()
    new = bench.fold([bench.update("a", 5, one)], rate=0.5)
    assert new.tobytes() == reference(bench.model, [(5, one)], rate=0.5).tobytes()


def test_momentum_is_carried_from_round_to_round(bench: Bench) -> None:
    one, two = bench.vector(), bench.vector()
    bench.fold([bench.update("a", 5, one)], momentum=0.9)
    kept = (bench.folder / "velocity").rename(bench.folder / "before")
    new = bench.fold([bench.update("a", 5, two)], momentum=0.9, velocity=kept)
    direction = 0.9 * (one.astype(np.float64) * 5 / 5) + two.astype(np.float64) * 5 / 5
    assert new.tobytes() == (bench.model.astype(np.float64) + direction).astype("<f4").tobytes()


def test_without_momentum_no_file_of_it_is_left(bench: Bench) -> None:
    bench.fold([bench.update("a", 5)])
    assert not (bench.folder / "velocity").exists()


def test_a_header_longer_than_a_chunk_is_folded_too(tmp_path: Path) -> None:
    bench = Bench(tmp_path, parameters=5000, tensors=2000)
    assert len(bench.header) > CHUNK
    one = bench.vector()
    assert bench.fold([bench.update("a", 2, one)]).tobytes() == reference(bench.model, [(2, one)]).tobytes()


@settings(max_examples=20, deadline=None)
@given(
    parameters=st.integers(1, 40_000),
    tensors=st.integers(1, 5),
    rows=st.lists(st.integers(1, 10_000), min_size=1, max_size=4),
)
def test_any_size_and_any_weights_equal_the_reference(
    tmp_path_factory: pytest.TempPathFactory, parameters: int, tensors: int, rows: list[int]
) -> None:
    bench = Bench(tmp_path_factory.mktemp("fold"), parameters=max(parameters, tensors), tensors=tensors)
    vectors = [bench.vector() for _ in rows]
    updates = [bench.update(f"s{index}", count, vectors[index]) for index, count in enumerate(rows)]
    assert (
        bench.fold(updates).tobytes()
        == reference(bench.model, list(zip(rows, vectors, strict=True))).tobytes()
    )


# --- what is wrong ------------------------------------------------------------------------------------------------


def test_an_update_under_another_key_is_that_sites_fault(bench: Bench) -> None:
    good, bad = bench.update("a", 5), bench.update("b", 5)
    spoiled = StagedUpdate(bad.site, bad.path, bytes(32), bad.rows)
    with pytest.raises(UnusableUpdateError, match="does not decrypt") as caught:
        bench.fold([good, spoiled])
    assert (caught.value.site, caught.value.reason) == ("b", Reason.UNREADABLE)


def test_an_update_with_another_header_is_that_sites_fault(bench: Bench) -> None:
    header = bytearray(bench.header)
    header[-1:] = b"\n"
    with pytest.raises(UnusableUpdateError, match="header") as caught:
        bench.fold([bench.update("a", 5), bench.update("b", 5, header=bytes(header))])
    assert caught.value.site == "b"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_update_that_is_not_finite_is_that_sites_fault(bench: Bench, value: float) -> None:
    values = bench.vector()
    values[-1] = value
    with pytest.raises(UnusableUpdateError) as caught:
        bench.fold([bench.update("a", 5, values), bench.update("b", 5)])
    assert (caught.value.site, caught.value.reason) == ("a", Reason.NOT_FINITE)


def test_a_result_that_overflows_is_nobodys_fault_and_an_error(bench: Bench) -> None:
    huge = np.full(bench.parameters, 3e38, dtype="<f4")
    with pytest.raises(FoldError, match="learning rate"):
        bench.fold([bench.update("a", 5, huge)], rate=10.0)


def test_nothing_is_folded_from_no_updates(bench: Bench) -> None:
    with pytest.raises(FoldError, match="no update"):
        bench.fold([])


def test_a_fold_ends_when_it_is_told_to(bench: Bench) -> None:
    files = FoldFiles(
        model=bench.folder / "model",
        velocity=None,
        new_model=bench.folder / "new",
        new_velocity=bench.folder / "v",
    )
    with pytest.raises(FoldError, match="stopped"):
        fold(
            (bench.update("a", 1),),
            files,
            Arithmetic(learning_rate=1.0, momentum=0.0),
            header=bench.header,
            chunk_bytes=CHUNK,
            stopped=lambda: True,
        )
