# SPDX-License-Identifier: Apache-2.0
"""The site's daemon with its real state and certificates, and messages put where its link puts them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from fedagent.core import events as on
from fedagent.core.round import Phase
from fedagent.core.settings import Settings
from fedagent.errors import ConfigurationError
from fedagent.security.certificates import key_to_pem, make_key, subject
from fedagent.security.envelope import sign
from fedagent.security.identity import Identity
from fedagent.site.app import CONTROL_MESSAGES, Daemon, Reload
from fedagent.transport.events import Arrived
from fedagent.wire.codec import encode
from fedagent.wire.messages import AggregatorHello, Announcement, ModelReference, Receipt, RoundKind
from fedagent.wire.topics import Role, aggregator_topic, round_topic
from tests.fakes.certificates import leaf_extensions, pem
from tests.fakes.clinic import IDENTITY, SITE, Clinic


class Site:
    """A daemon that is connected to nothing, and the aggregator's pen."""

    def __init__(self, folder: Path, name: str = SITE) -> None:
        self.clinic = Clinic(folder)
        self.settings = with_certificate(self.clinic, folder, name)
        self.daemon = Daemon(self.settings, self.clinic.config)
        self._sequence = 0
        self.heard = b""

    def restart(self) -> None:
        self.daemon._database.close()
        self.daemon = Daemon(self.settings, self.clinic.config)

    def hears(self, topic: str, body: bytes, sequence: int | None = None) -> None:
        self._sequence += 1
        payload = sign(body, topic=topic, sequence=sequence or self._sequence, signer=self.clinic.aggregator)
        self.heard = payload
        self.daemon._put(Arrived(topic=topic, payload=payload, mid=1, qos=1))
        self.daemon._take(self.daemon._inbox.get_nowait())

    def hears_round(self, number: int) -> None:
        model = ModelReference(
            blob=bytes([number]) * 32, size_bytes=1, chunk_bytes=65_536, plaintext=bytes(32)
        )
        opened = Announcement(
            study=IDENTITY,
            round=number,
            round_kind=RoundKind.TRAIN,
            model=model,
            aggregator_key=bytes(range(32)),
            deadline_at=0.0,
        )
        self.hears(round_topic(IDENTITY.name), encode(opened))

    @property
    def round(self) -> int:
        return self.daemon.state.studies[IDENTITY.name].round


def with_certificate(clinic: Clinic, folder: Path, name: str) -> Settings:
    """The clinic's settings, and a key and certificate of that name where they say."""
    key, now = make_key(), datetime.now(UTC)
    identity = Identity(Role.SITE, name)
    leaf = clinic.authority.issue(
        key.public_key(), subject(name), leaf_extensions(identity), begin=now - timedelta(hours=1), end=now + timedelta(hours=1)
    )  # fmt: skip
    (folder / "site.crt").write_bytes(pem(leaf))
    (folder / "site.key").write_bytes(key_to_pem(key, None))
    (folder / "site.key").chmod(0o600)
    files = {"certificate": str(folder / "site.crt"), "key": str(folder / "site.key")}
    broker = msgspec.structs.replace(clinic.settings.broker, **files)
    return msgspec.structs.replace(clinic.settings, broker=broker)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.daemon._database.close()


def test_a_round_that_was_heard_is_known_after_a_restart(site: Site) -> None:
    site.hears_round(3)
    site.restart()
    assert site.round == 3
    assert site.daemon.state.studies[IDENTITY.name].phase is Phase.UNAPPROVED


def test_a_replayed_round_changes_nothing_also_after_a_restart(site: Site) -> None:
    site.hears_round(3)
    site.hears_round(4)
    site.restart()
    before = site.daemon.state
    site._sequence = 0
    site.hears_round(3)
    assert site.daemon.state == before


def test_what_is_wrong_is_said_in_one_line_and_changes_nothing(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.hears_round(3)
    before = site.daemon.state
    site.hears(round_topic(IDENTITY.name), b"\xff\x00 not a message")
    other = aggregator_topic("clinic-b", "hello")
    site.hears(other, encode(AggregatorHello(version="1", protocol=1)))
    stray = Receipt(study="another", round=1, blob=bytes(32))
    site.hears(aggregator_topic(SITE, "receipt", IDENTITY.name), encode(stray))
    assert site.daemon.state.studies == before.studies
    refused = [line for line in caplog.messages if line.startswith("refused a message")]
    assert len(refused) == 3
    assert all("\n" not in line for line in refused)


def test_a_flood_is_bounded_by_what_was_said_at_connect(site: Site) -> None:
    most = 2 * (site.settings.transfer.window + CONTROL_MESSAGES)
    for number in range(10 * most):
        site.daemon._put(Arrived(topic="fedagent/v1/all/x/round", payload=b"x", mid=number, qos=1))
    assert site.daemon._inbox.qsize() == most


def test_settings_that_became_wrong_stay_as_they_were(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    before = site.daemon.state.policy
    site.clinic.config.write_text(site.clinic.config.read_text() + "\n[governer]\ncpu_leave_ratio = 0.5\n")
    site.daemon._take(Reload())
    assert site.daemon.state.policy == before
    assert "the settings stay as they were" in caplog.text
    assert "did you mean 'governor'" in caplog.text


def test_settings_that_are_right_are_taken(site: Site) -> None:
    site.clinic.config.write_text(site.clinic.config.read_text() + "\n[governor]\nresume_after_s = 7\n")
    site.daemon._take(Reload())
    assert site.daemon.state.policy.resume_after_s == 7


def test_the_daemon_ends_when_it_is_asked_and_nothing_trains(site: Site) -> None:
    assert site.daemon._take(on.StopAsked())


def test_another_sites_certificate_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="certificate of 'clinic-b'"):
        Site(tmp_path, "clinic-b")


def test_a_site_that_has_not_joined_is_told_how(tmp_path: Path) -> None:
    clinic = Clinic(tmp_path)
    settings = with_certificate(clinic, tmp_path, SITE)
    (tmp_path / "site.crt").unlink()
    with pytest.raises(ConfigurationError, match="enroll --request"):
        Daemon(settings, clinic.config)
