# SPDX-License-Identifier: Apache-2.0
"""What the tabular task does not do, and why."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from fedagent.trainer.tasks import TaskError
from fedagent.trainer.tensor_file import Tensors
from fedagent.wire import study as s
from fedagent.wire.frames import WorkerJob
from fedagent.wire.messages import Reason, RoundKind
from tests.fakes.tables import make_columns, make_model, make_task, write_snapshot
from tests.fakes.training_site import Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    yield Site(tmp_path)
    torch.set_num_threads(1)


def failure(site: Site, job: WorkerJob, model: Tensors | None = None) -> TaskError:
    with pytest.raises(TaskError) as caught:
        site.run(job, model=model)
    return caught.value


def test_a_column_that_is_not_there_is_named(site: Site) -> None:
    columns = (s.Numeric(name="x"), s.Numeric(name="troponin"))
    error = failure(site, site.job(make_task(columns=columns)))
    assert error.reason is Reason.DATA_DOES_NOT_FIT
    assert "'troponin'" in str(error)


def test_a_file_that_is_no_snapshot_does_not_fit(site: Site) -> None:
    site.snapshot.write_bytes(b"not parquet")
    assert failure(site, site.job(make_task())).reason is Reason.DATA_DOES_NOT_FIT


def test_too_few_patients_are_refused_without_their_number(site: Site) -> None:
    columns = make_columns()
    columns["__patient"] = [f"p{index % 9}" for index in range(120)]
    site.snapshot = write_snapshot(site.folder / "few.parquet", columns)
    error = failure(site, site.job(make_task()))
    assert error.reason is Reason.TOO_FEW_ROWS
    assert "9" not in str(error)


def test_too_few_test_patients_leave_no_metric_of_them(site: Site) -> None:
    columns = make_columns()
    columns["__split"] = ["test" if index < 9 else "train" for index in range(120)]
    site.snapshot = write_snapshot(site.folder / "few.parquet", columns)
    outcome, _ = site.run(site.job(make_task()))
    assert [m.name for m in outcome.metrics] == ["training_loss"]


def test_a_site_with_test_rows_only_can_evaluate_where_no_training_row_is_needed(site: Site) -> None:
    columns = make_columns()
    columns["__split"] = ["test"] * 120
    site.snapshot = write_snapshot(site.folder / "tests.parquet", columns)
    fixed = make_task(normalisation=s.NoNormalisation())
    outcome, _ = site.run(site.job(fixed, round_kind=RoundKind.EVALUATE))
    assert {m.count for m in outcome.metrics} == {120}
    for job in (site.job(make_task(), round_kind=RoundKind.EVALUATE), site.job(fixed)):
        assert failure(site, job).reason is Reason.TOO_FEW_ROWS


def test_a_loss_that_is_not_finite_ends_the_job(site: Site) -> None:
    task = make_task(optimizer=s.Sgd(learning_rate=1e38), normalisation=s.NoNormalisation())
    assert failure(site, site.job(task)).reason is Reason.NOT_FINITE


def test_an_update_that_is_not_finite_is_not_handed_over(site: Site) -> None:
    task = make_task(optimizer=s.Sgd(learning_rate=3e38, weight_decay=1e10), work=s.Steps(amount=1))
    assert failure(site, site.job(task)).reason is Reason.NOT_FINITE


def test_a_model_with_values_that_are_not_finite_is_not_evaluated(site: Site) -> None:
    model = make_model(make_task())
    model["layers.0.bias"][0] = np.inf
    assert failure(site, site.job(make_task()), model).reason is Reason.NOT_FINITE


def test_outputs_that_no_message_could_carry_count_as_not_finite(site: Site) -> None:
    model = make_model(make_task())
    model["layers.0.bias"][0] = 1e38
    assert failure(site, site.job(make_task()), model).reason is Reason.NOT_FINITE


def test_another_tasks_model_is_refused(site: Site) -> None:
    assert (
        failure(site, site.job(make_task()), make_model(make_task(hidden=(3,)))).reason is Reason.UNREADABLE
    )


def test_a_job_without_a_snapshot_is_refused(site: Site) -> None:
    assert failure(site, site.job(make_task(), snapshot=None)).reason is Reason.NO_DATASET
