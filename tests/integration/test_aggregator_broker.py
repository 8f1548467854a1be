# SPDX-License-Identifier: Apache-2.0
"""What ``fedaggregator init`` writes is what a real mosquitto accepts and the real program runs with."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
import tomli_w

from fedagent.aggregator.authority import Authority
from fedagent.cli.aggregator import main
from fedagent.core.settings import BrokerSettings
from fedagent.demo.broker import Broker, MosquittoProgram, free_port
from fedagent.security.certificates import Trust, key_to_pem, make_key, make_request
from fedagent.security.mail import open_mail
from fedagent.transport.mqtt import Arrived, Connected, MqttEvent, MqttLink
from fedagent.wire.messages import Announcement, RoundKind
from fedagent.wire.study import Federation, Identity, Study
from fedagent.wire.topics import round_topic

LIMIT_S = 20.0
SITE = "clinic-a"
STUDY = Study(
    name="transfer",
    purpose="Measures the transfer.",
    contact="study@example.org",
    task=Identity(parameters=1000),
    federation=Federation(rounds=1, sites=(SITE,), quorum=1, deadline_s=3600.0),
)


class Centre:
    """A study centre as its administrator makes it."""

    def __init__(self, folder: Path, mosquitto: MosquittoProgram) -> None:
        self.folder, self.port = folder, free_port()
        (folder / "password").write_text("secret")
        words = ["init", str(folder), "--host", "localhost", "--port", str(self.port)]
        assert main([*words, "--password-file", str(folder / "password")]) == 0
        self.broker = Broker(
            mosquitto, configuration=folder / "mosquitto.conf", port=self.port, log=folder / "broker.log"
        )
        (folder / "study.toml").write_text(tomli_w.dumps(msgspec.to_builtins(STUDY)))

    def run(self, *words: str) -> int:
        return main([*words, "--config", str(self.folder / "fedaggregator.toml")])

    @contextmanager
    def aggregator(self) -> Iterator["subprocess.Popen[bytes]"]:
        words = [sys.executable, "-m", "fedagent.cli.aggregator", "run"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        config = str(self.folder / "fedaggregator.toml")
        with subprocess.Popen(
            [*words, "--config", config], env=environment, stderr=subprocess.PIPE
        ) as program:
            try:
                yield program
            finally:
                program.kill()

    def site(self) -> BrokerSettings:
        """A site's files, signed by this centre."""
        authority, key = Authority(self.folder / "authority"), make_key()
        authority.open(b"secret")
        (self.folder / "site.crt").write_bytes(authority.sign_request(make_request(key, SITE), SITE))
        (self.folder / "site.key").write_bytes(key_to_pem(key, None))
        (self.folder / "site.key").chmod(0o600)
        return BrokerSettings(
            host="localhost",
            port=self.port,
            ca=str(self.folder / "ca.crt"),
            certificate=str(self.folder / "site.crt"),
            key=str(self.folder / "site.key"),
        )

    async def announced(self, kind: RoundKind = RoundKind.TRAIN) -> Announcement:
        """The study's announcement of that kind, as a site reads it from the broker."""
        events: asyncio.Queue[MqttEvent] = asyncio.Queue()
        link = MqttLink(self.site(), client_id=SITE, receive_maximum=4, will=None, on_event=events.put_nowait)
        async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as tasks:
            running = tasks.create_task(link.run())
            found: Announcement | None = None
            while found is None or found.round_kind is not kind:
                match event := await events.get():
                    case Connected():
                        link.subscribe([round_topic(STUDY.name)])
                    case Arrived():
                        found = self.read(event)
                    case _:
                        pass
            running.cancel()
        return found

    def read(self, event: Arrived) -> Announcement:
        trust = Trust((self.folder / "ca.crt").read_bytes())
        message = open_mail(event.payload, topic=event.topic, trust=trust, now=datetime.now(UTC)).message
        assert isinstance(message, Announcement)
        return message


def until_ready(program: "subprocess.Popen[bytes]") -> None:
    assert program.stderr is not None
    for line in program.stderr:
        if b"is ready" in line:
            return
    pytest.fail("the aggregator ended before it was ready")


@pytest.fixture
def centre(tmp_path: Path, mosquitto: MosquittoProgram) -> Iterator[Centre]:
    made = Centre(tmp_path, mosquitto)
    with made.broker:
        yield made


def test_a_started_study_is_announced_and_again_after_a_kill(centre: Centre) -> None:
    assert centre.run("study", "create", str(centre.folder / "study.toml")) == 0
    assert centre.run("study", "start", STUDY.name) == 0
    with centre.aggregator() as program:
        first = asyncio.run(centre.announced())
        program.send_signal(signal.SIGKILL)
        program.wait(LIMIT_S)
    centre.broker.kill()
    with centre.broker, centre.aggregator() as program:
        assert asyncio.run(centre.announced()) == first
        program.send_signal(signal.SIGTERM)
        assert program.wait(LIMIT_S) == 0
    assert first.study == STUDY


def test_a_running_aggregator_takes_commands_and_keeps_others_from_its_state(centre: Centre) -> None:
    with centre.aggregator() as first:
        until_ready(first)
        assert centre.run("study", "create", str(centre.folder / "study.toml")) == 0
        assert centre.run("study", "start", STUDY.name) == 0
        assert asyncio.run(centre.announced()).round == 1
        assert centre.run("study", "start", "nope") == 64
        with centre.aggregator() as second:
            assert second.wait(LIMIT_S) == 69
        assert centre.run("study", "stop", STUDY.name) == 0
        assert asyncio.run(centre.announced(RoundKind.ENDED)).round == 2
        assert centre.run("study", "start", STUDY.name) == 64
