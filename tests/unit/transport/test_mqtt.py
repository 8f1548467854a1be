# SPDX-License-Identifier: Apache-2.0
"""What a link says and does without a broker; the rest is in tests/integration/test_transport_link.py."""

from pathlib import Path

import pytest

from fedagent.core.settings import BrokerSettings
from fedagent.errors import ConfigurationError
from fedagent.transport.mqtt import Arrived, MqttLink
from tests.fakes.centre import Centre


def link(settings: BrokerSettings) -> MqttLink:
    return MqttLink(settings, client_id="clinic-a", receive_maximum=4, will=None, on_event=lambda _: None)


def test_a_wrong_file_is_told_before_anything_is_connected(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"broker\.ca"):
        link(BrokerSettings(host="broker.example", ca=str(tmp_path / "absent.crt")))


def test_what_is_said_while_disconnected_is_dropped(tmp_path: Path) -> None:
    silent = link(Centre(tmp_path).settings_of("clinic-a"))
    silent.publish("fedagent/v1/up/clinic-a/hello", b"x", retain=True)
    silent.subscribe(["fedagent/v1/all/heart/round"])
    silent.unsubscribe(["fedagent/v1/all/heart/round"])
    silent.acknowledge(Arrived(topic="t", payload=b"", mid=1 << 16 | 1, qos=1))
    assert (silent.connected, silent.unacknowledged) == (False, 0)
