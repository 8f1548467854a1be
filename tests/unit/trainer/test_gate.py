# SPDX-License-Identifier: Apache-2.0
import json
import math
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import numpy as np
import pytest

from fedagent.channel import check_sealed, close_all, sealed_memfd
from fedagent.security.blob import TAG_BYTES, BlobCipher, ciphertext_bytes
from fedagent.security.sealing import new_private_key, public_key, unseal, update_context
from fedagent.trainer.gate import METRICS, GateTerms, pass_loss, pass_metrics, pass_result
from fedagent.trainer.refusal import RefusedError
from fedagent.wire import study as s
from fedagent.wire.codec import decode
from fedagent.wire.frames import JobSealed, WorkerDone
from fedagent.wire.messages import Announcement, MetricValue, ModelReference, Reason, RoundKind, UpdateSecret
from fedagent.wire.tensors import encode_header, file_bytes
from tests.fakes.clinic import IDENTITY, SITE, TABULAR

SNAPSHOT = bytes(range(32))
PRIVATE_KEY = new_private_key()
GOOD = WorkerDone(rows=50, metrics=(MetricValue(name="auc", value=0.5, count=50),))
WIDE = msgspec.structs.replace(TABULAR, task=msgspec.structs.replace(TABULAR.task, hidden=(4096, 64)))
"""Several chunks, and an odd number of floats in the last."""


def terms(study: s.Study = TABULAR, kind: RoundKind = RoundKind.TRAIN, key: bytes | None = None) -> GateTerms:
    announcement = Announcement(
        study=study,
        round=2,
        round_kind=kind,
        model=ModelReference(
            blob=bytes(32), size_bytes=1, chunk_bytes=study.chunk_bytes, plaintext=bytes(32)
        ),
        aggregator_key=public_key(PRIVATE_KEY) if key is None else key,
        deadline_at=0.0,
    )
    return GateTerms(announcement, SITE, SNAPSHOT)


def floats(study: s.Study) -> int:
    shapes = s.model_shapes(study.task)
    return (file_bytes(shapes) - len(encode_header(shapes))) // 4


def update_bytes(study: s.Study = TABULAR, values: list[float] | None = None) -> bytes:
    values = [0.5] * floats(study) if values is None else values
    return encode_header(s.model_shapes(study.task)) + struct.pack(f"<{len(values)}f", *values)


@contextmanager
def memfd(data: bytes) -> Iterator[list[int]]:
    descriptor = sealed_memfd("raw", [data])
    yield [descriptor]
    os.close(descriptor)


def gate(
    data: bytes, *, study: s.Study = TABULAR, done: WorkerDone = GOOD
) -> tuple[JobSealed, UpdateSecret, bytes]:
    """What the aggregator gets of it."""
    with memfd(data) as raw:
        sealed, descriptors = pass_result(done, raw, terms(study), pulse=lambda: None)
    (descriptor,) = descriptors
    size = check_sealed(descriptor, 10**9)
    assert size == ciphertext_bytes(len(data), study.chunk_bytes)
    context = update_context(study.name, 2, SITE)
    secret = decode(unseal(PRIVATE_KEY, sealed.secret, context=context), UpdateSecret, limit_bytes=16_384)
    cipher, step = BlobCipher(secret.key), study.chunk_bytes
    plain = [
        cipher.decrypt(index, last=offset + step >= size, chunk=os.pread(descriptor, step, offset))
        for index, offset in enumerate(range(0, size, step))
    ]
    os.close(descriptor)
    assert all(len(chunk) == step - TAG_BYTES for chunk in plain[:-1])
    return sealed, secret, b"".join(plain)


def refused(data: bytes | None, *, done: WorkerDone = GOOD, chosen: GateTerms | None = None) -> Reason:
    with memfd(data or b"") as raw, pytest.raises(RefusedError) as caught:
        pass_result(done, raw if data is not None else [], chosen or terms(), pulse=lambda: None)
    assert str(caught.value)
    return caught.value.reason


def headed(header: dict[str, object], count: int = 3) -> bytes:
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % 64)
    return len(text).to_bytes(8, "little") + text + struct.pack(f"<{count}f", *[0.5] * count)


def entry(shape: list[int], begin: int, end: int, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


WEIGHT, BIAS = "layers.0.weight", "layers.0.bias"
SPOILED = {
    "empty": b"",
    "shorter": update_bytes()[:-4],
    "longer": update_bytes() + bytes(4),
    "an extra tensor": headed(
        {WEIGHT: entry([1, 2], 0, 8), BIAS: entry([1], 8, 12), "x": entry([1], 12, 16)}, 4
    ),
    "a missing tensor": headed({WEIGHT: entry([1, 2], 0, 8)}, 2),
    "another name": headed({WEIGHT: entry([1, 2], 0, 8), "layers.0.bits": entry([1], 8, 12)}),
    "another shape": headed({WEIGHT: entry([2, 1], 0, 8), BIAS: entry([1], 8, 12)}),
    "another order": headed({BIAS: entry([1], 0, 4), WEIGHT: entry([1, 2], 4, 12)}),
    "another type": headed({WEIGHT: entry([1, 2], 0, 8, "I32"), BIAS: entry([1], 8, 12)}),
    "metadata": headed({"__metadata__": {"a": "b"}, WEIGHT: entry([1, 2], 0, 8), BIAS: entry([1], 8, 12)}),
    "no tensors at all": bytes(len(update_bytes())),
}


@pytest.mark.parametrize("data", SPOILED.values(), ids=SPOILED)
def test_an_update_of_another_form_does_not_pass(data: bytes) -> None:
    assert refused(data) is Reason.GATE


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_update_that_is_not_finite_does_not_pass(value: float, place: int) -> None:
    values = [0.5, -0.5, 1.0]
    values[place] = value
    assert refused(update_bytes(values=values)) is Reason.NOT_FINITE


def test_the_largest_finite_values_pass() -> None:
    largest = float(np.finfo(np.float32).max)
    sealed, _, plain = gate(update_bytes(values=[largest] * 3))
    assert sealed.norm == pytest.approx(largest * 3**0.5)
    assert plain == update_bytes(values=[largest] * 3)


def test_an_unsealable_update_does_not_pass() -> None:
    descriptor = os.memfd_create("raw")
    os.write(descriptor, update_bytes())
    with pytest.raises(RefusedError) as caught:
        pass_result(GOOD, [descriptor], terms(), pulse=lambda: None)
    assert caught.value.reason is Reason.GATE
    os.close(descriptor)


def test_a_good_update_arrives_bit_by_bit_in_several_chunks() -> None:
    values = np.random.default_rng(1).normal(size=floats(WIDE)).astype("<f4")
    data = encode_header(s.model_shapes(WIDE.task)) + values.tobytes()
    sealed, secret, plain = gate(data, study=WIDE)
    assert plain == data
    assert sealed.norm == pytest.approx(float(np.linalg.norm(values.astype(np.float64))), rel=1e-12)
    assert (sealed.rows, secret.rows, secret.snapshot) == (50, 50, SNAPSHOT)
    assert (sealed.study, sealed.round, sealed.chunk_bytes) == ("heart", 2, WIDE.chunk_bytes)
    assert sealed.metrics == secret.metrics == GOOD.metrics


def test_two_updates_have_two_keys() -> None:
    assert gate(update_bytes())[1].key != gate(update_bytes())[1].key


@pytest.mark.parametrize("bound", [1e-6, 0.1, 1.0, 29.0])
def test_a_clipped_update_keeps_its_direction_and_stays_within_the_bound(bound: float) -> None:
    study = msgspec.structs.replace(WIDE, privacy=s.Privacy(clip_norm=bound))
    values = np.random.default_rng(2).normal(size=floats(study)).astype("<f4")
    header = encode_header(s.model_shapes(study.task))
    sealed, _, plain = gate(header + values.tobytes(), study=study)
    clipped = np.frombuffer(plain, "<f4", offset=len(header)).astype(np.float64)
    norm = float(np.linalg.norm(clipped))
    assert plain.startswith(header)
    assert bound * (1 - 1e-5) < norm <= bound
    assert np.allclose(
        clipped / norm, values / np.linalg.norm(values.astype(np.float64)), rtol=1e-4, atol=1e-9
    )
    assert sealed.norm == pytest.approx(float(np.linalg.norm(values.astype(np.float64)))), "before clipping"


def test_an_update_within_the_bound_is_not_touched() -> None:
    study = msgspec.structs.replace(TABULAR, privacy=s.Privacy(clip_norm=10.0))
    assert gate(update_bytes(), study=study)[2] == update_bytes()


# --- rows and metrics ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "passes"), [(0, False), (9, False), (10, True), (11, True)])
def test_an_update_over_too_few_rows_does_not_pass(rows: int, passes: bool) -> None:
    done = WorkerDone(rows=rows, metrics=())
    if passes:
        assert gate(update_bytes(), done=done)[1].rows == rows
    else:
        assert refused(update_bytes(), done=done) is Reason.TOO_FEW_ROWS


def test_identity_reads_no_rows_and_weighs_one() -> None:
    done = WorkerDone(rows=5_000, metrics=())
    assert gate(update_bytes(IDENTITY), study=IDENTITY, done=done)[1].rows == 1


@pytest.mark.parametrize(("rows", "told"), [(0, 0), (9, 0), (10, 10)])
def test_an_evaluation_tells_no_small_count_and_has_no_update(rows: int, told: int) -> None:
    done = WorkerDone(rows=rows, metrics=GOOD.metrics)
    sealed, descriptors = pass_result(done, [], terms(kind=RoundKind.EVALUATE), pulse=lambda: None)
    assert (sealed.rows, sealed.norm, descriptors, sealed.metrics) == (told, 0.0, [], GOOD.metrics)


def test_an_evaluation_with_an_update_and_a_training_without_one_do_not_pass() -> None:
    assert refused(update_bytes(), chosen=terms(kind=RoundKind.EVALUATE)) is Reason.GATE
    assert refused(None) is Reason.GATE


def test_an_aggregators_key_that_is_none_lets_nothing_out() -> None:
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208 (names are all that is wanted)
    assert refused(update_bytes(), chosen=terms(key=bytes(32))) is Reason.UNREADABLE
    assert set(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def metric(name: str = "auc", value: float = 0.5, count: int = 10) -> MetricValue:
    return MetricValue(name=name, value=value, count=count)


@pytest.mark.parametrize(
    ("given", "passed"),
    [
        ([metric(count=10)], 1),
        ([metric(count=9)], 0),
        ([metric(value=math.nan)], 0),
        ([metric(value=math.inf)], 0),
        ([metric("youngest_patient")], 0),
        ([metric(), metric(value=0.25)], 1),
        ([metric(name) for name in sorted(METRICS)], len(METRICS)),
        ([metric(count=9), metric(count=12)], 1),
    ],
    ids=[
        "enough",
        "a small cell",
        "nan",
        "infinite",
        "unknown",
        "twice",
        "all known",
        "a small cell, then enough",
    ],
)
def test_metrics_pass_by_name_value_and_count(given: list[MetricValue], passed: int) -> None:
    assert len(pass_metrics(TABULAR, given)) == passed


def test_the_studys_own_minimum_counts_where_it_is_higher() -> None:
    strict = msgspec.structs.replace(TABULAR, privacy=s.Privacy(minimum_cell=50))
    assert pass_metrics(strict, [metric(count=49)]) == ()
    assert len(pass_metrics(strict, [metric(count=50)])) == 1


@pytest.mark.parametrize(
    ("loss", "shown"),
    [(0.123456, 0.123), (None, None), (math.nan, None), (math.inf, None), (12345.0, 12300.0)],
)
def test_the_loss_for_people_is_coarse(loss: float | None, shown: float | None) -> None:
    assert pass_loss(TABULAR, loss) == shown


def test_the_loss_of_a_small_batch_and_of_no_data_is_not_told() -> None:
    small = msgspec.structs.replace(TABULAR, task=msgspec.structs.replace(TABULAR.task, batch_size=9))
    assert pass_loss(small, 0.5) is None
    assert pass_loss(IDENTITY, 0.5) is None


def test_whoever_ends_the_work_in_between_gets_no_descriptor() -> None:
    calls = iter(range(100))

    def pulse() -> None:
        if next(calls) == 2:
            raise InterruptedError

    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with memfd(update_bytes(WIDE)) as raw, pytest.raises(InterruptedError):
        close_all(pass_result(GOOD, raw, terms(WIDE), pulse=pulse)[1])
    assert set(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
