# SPDX-License-Identifier: Apache-2.0
"""The demo's numbers are those that the system reported."""

import io

import pytest
from rich.console import Console

from fedagent.demo.federation import MetricRow
from fedagent.demo.report import References, Result, Score, SiteRow, curves, final, print_table

ROWS = [
    MetricRow(round=number + 1, kind="train", model=number, site=site, metric="auc", value=value, count=20)
    for number, values in enumerate(({"all": 0.5, "north": 0.4}, {"all": 0.9, "north": 0.8}))
    for site, value in values.items()
]
REFERENCES = References(
    local={"north": {"auc": Score(0.7, 20)}},
    pooled={"north": {"auc": Score(0.9, 30)}, "south": {"auc": Score(0.5, 10)}},
)


def test_the_final_value_is_the_last_models() -> None:
    assert final(ROWS, "all", "auc") == 0.9
    assert final(ROWS, "north", "auc") == 0.8


def test_the_pooled_mean_is_weighted_by_patients() -> None:
    assert REFERENCES.pooled_mean("auc") == pytest.approx(0.8)


def test_the_picture_has_all_sites_and_the_pooled_level() -> None:
    text = curves(ROWS, REFERENCES)
    assert "all hospitals" in text
    assert "north" in text
    assert "pooled data" in text


def test_the_table_names_every_hospital_and_the_model() -> None:
    site = SiteRow(
        name="north", rows=99, local_auc=0.7, federated_auc=0.8, pooled_auc=0.9, bytes_up=1500, bytes_down=2500, yielded_s=2.0
    )  # fmt: skip
    result = Result(
        seed=1, rounds=2, model_digest="d" * 64, federated_auc=0.9, pooled_auc=0.8, seconds=3.0, sites=(site,)
    )
    output = io.StringIO()
    print_table(Console(file=output, width=120), result)
    said = output.getvalue()
    assert "north" in said
    assert "99" in said
    assert "1.5 kB" in said
    assert "d" * 64 in said
