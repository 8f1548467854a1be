# SPDX-License-Identifier: Apache-2.0
"""The settings file: what is shipped is what the code has as default."""

from pathlib import Path

import pytest

from fedagent.aggregator.settings import AggregatorSettings, read_aggregator_settings
from fedagent.aggregator.studies import read_study
from fedagent.errors import ConfigurationError

SHIPPED = Path(__file__).parents[3] / "etc" / "fedaggregator"


def test_the_shipped_file_holds_every_setting_with_its_default() -> None:
    text = (SHIPPED / "fedaggregator.toml").read_text(encoding="utf-8")
    assert read_aggregator_settings(SHIPPED / "fedaggregator.toml") == AggregatorSettings()
    for section in (AggregatorSettings().broker, AggregatorSettings().paths, AggregatorSettings().transfer):
        for field in section.__struct_fields__:
            assert f"\n{field} = " in text


def test_the_shipped_example_of_a_study_is_right() -> None:
    assert read_study(SHIPPED / "study-example.toml").name == "heart-example"


def test_every_folder_lies_below_the_state() -> None:
    settings = AggregatorSettings()
    assert {settings.store.parent, settings.models.parent, settings.blobs.parent} == {settings.state}
    assert settings.control_socket == Path("/run/fedaggregator/control.sock")


def test_an_unknown_setting_is_named(tmp_path: Path) -> None:
    path = tmp_path / "fedaggregator.toml"
    path.write_text("[broker]\nhots = 'x'\n")
    with pytest.raises(ConfigurationError, match=r"broker\.hots: unknown key; did you mean 'host'"):
        read_aggregator_settings(path)
