# SPDX-License-Identifier: Apache-2.0
"""A real supervisor that is lied to, and one that is not."""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from fedagent.launch import child
from fedagent.security.identity import AGGREGATOR, Identity
from fedagent.security.sealing import new_private_key, public_key
from fedagent.wire import frames
from fedagent.wire import study as s
from fedagent.wire.messages import Reason, RoundKind
from fedagent.wire.tensors import encode_header
from fedagent.wire.topics import Role
from tests.fakes.clinic import IDENTITY, SITE, TABULAR, Clinic, Order, holder, model_bytes, new_authority
from tests.fakes.connection import Connection, program, read_all

ALTERED = msgspec.structs.replace(IDENTITY, task=s.Identity(parameters=50_000, tensors=3, increment=9.0))
ELSEWHERE = msgspec.structs.replace(
    IDENTITY, federation=msgspec.structs.replace(IDENTITY.federation, sites=("clinic-b", "clinic-c"))
)


@pytest.fixture
def clinic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clinic:
    monkeypatch.setattr(child, "PROGRAM", program("obey"))
    return Clinic(tmp_path)


def approved(clinic: Clinic, study: s.Study = IDENTITY) -> Order:
    clinic.approve(study)
    return clinic.order(study)


def forged(clinic: Clinic) -> Order:
    return msgspec.structs.replace(approved(clinic), signer=holder(new_authority(), AGGREGATOR))


def by_a_site(clinic: Clinic) -> Order:
    signer = holder(clinic.authority, Identity(Role.SITE, "clinic-b"))
    return msgspec.structs.replace(approved(clinic), signer=signer)


def altered(clinic: Clinic) -> Order:
    clinic.approve(IDENTITY)
    return clinic.order(ALTERED)


def beyond(clinic: Clinic) -> Order:
    clinic.approve(IDENTITY, rounds=3)
    return clinic.order(IDENTITY, round=4)


def damaged_approval(clinic: Clinic) -> Order:
    (clinic.approvals / f"{IDENTITY.name}.toml").write_text("study = 7", encoding="utf-8")
    return clinic.order(IDENTITY)


def other_bytes(clinic: Clinic) -> Order:
    size = len(model_bytes(IDENTITY)) + 16 * 4
    return msgspec.structs.replace(approved(clinic), ciphertext=os.urandom(size))


def oversize(clinic: Clinic) -> Order:
    return msgspec.structs.replace(approved(clinic), model=model_bytes(IDENTITY) + bytes(1_000_000))


def grown_file(clinic: Clinic) -> Order:
    return msgspec.structs.replace(approved(clinic), ciphertext=bytes(10_000_000))


def other_tensors(clinic: Clinic) -> Order:
    other = encode_header({"tensor.0": (50_000,), "tensor.1": (0,), "tensor.2": (0,)})
    good = encode_header(s.model_shapes(IDENTITY.task))
    plain = other.ljust(len(good)) + struct.pack("<f", 1.0) * 50_000
    return msgspec.structs.replace(approved(clinic), model=plain[: len(model_bytes(IDENTITY))])


LIES: dict[str, tuple[Callable[[Clinic], Order], Reason]] = {
    "not approved": (lambda clinic: clinic.order(IDENTITY), Reason.REVOKED),
    "a hyper-parameter altered after the approval": (altered, Reason.REVOKED),
    "a round beyond the approved": (beyond, Reason.REVOKED),
    "an approval that is no approval": (damaged_approval, Reason.REVOKED),
    "signed under another authority": (forged, Reason.UNREADABLE),
    "signed by a site": (by_a_site, Reason.UNREADABLE),
    "signed by nobody": (
        lambda clinic: msgspec.structs.replace(approved(clinic), topic="other"),
        Reason.UNREADABLE,
    ),
    "for another site": (
        lambda clinic: msgspec.structs.replace(approved(clinic), site="clinic-b"),
        Reason.NOT_A_MEMBER,
    ),
    "a study without this site": (lambda clinic: approved(clinic, ELSEWHERE), Reason.NOT_A_MEMBER),
    "an ended study": (
        lambda clinic: msgspec.structs.replace(approved(clinic), kind=RoundKind.ENDED),
        Reason.ROUND_CLOSED,
    ),
    "other bytes than the model's": (other_bytes, Reason.UNREADABLE),
    "a model too large for the task": (oversize, Reason.UNREADABLE),
    "a file too large for the model": (grown_file, Reason.UNREADABLE),
    "a model with other tensors": (other_tensors, Reason.UNREADABLE),
    "a plaintext that was not announced": (
        lambda clinic: msgspec.structs.replace(approved(clinic), plaintext=bytes(32)),
        Reason.UNREADABLE,
    ),
    "a key for another trainer": (
        lambda clinic: msgspec.structs.replace(approved(clinic), key_for=public_key(new_private_key())),
        Reason.UNREADABLE,
    ),
    "a key for another round": (
        lambda clinic: msgspec.structs.replace(approved(clinic), key_round=2),
        Reason.UNREADABLE,
    ),
    "no snapshot": (lambda clinic: approved(clinic, TABULAR), Reason.NO_DATASET),
}


CLOSED = "the model cannot be opened: "
LINES = {
    "not approved": "study transfer is not approved here; sudo fedagent study approve transfer --dataset NAME",
    "a hyper-parameter altered after the approval": "study transfer was changed after its approval; "
    "sudo fedagent study show transfer, then approve it anew",
    "a round beyond the approved": "round 4 of study transfer is beyond the approved 3 rounds; approve it anew to allow more",
    "an approval that is no approval": "{}/approvals.d/transfer.toml: study: expected string, got integer; correct it",
    "signed under another authority": "the announcement proves nothing: the authority did not sign the certificate (at certificate)",
    "signed by a site": "the announcement proves nothing: site clinic-b may not speak on this topic (at topic)",
    "signed by nobody": "the announcement proves nothing: the message is about study 'transfer', the topic about 'other' (at $.study)",
    "for another site": "study transfer: the job is for site clinic-b, and this is clinic-a; "
    "compare site.name with the sites that the study names",
    "a study without this site": "study transfer: the job is for site clinic-a, and this is clinic-a; "
    "compare site.name with the sites that the study names",
    "an ended study": "study transfer has ended",
    "other bytes than the model's": CLOSED + "the chunk was altered or is not from here (at $.chunks[0])",
    "a model too large for the task": CLOSED
    + "a model of this task has 200320 bytes, announced are 1200560 (at $.model)",
    "a file too large for the model": CLOSED
    + "the model's file has 10000000 bytes, announced are 200320 (at descriptor)",
    "a model with other tensors": CLOSED
    + "the model's tensors are not those of the study's task (at header)",
    "a plaintext that was not announced": CLOSED
    + "the decrypted model is not the announced one (at $.model.plaintext)",
    "a key for another trainer": CLOSED
    + "the secret is not sealed to this key and purpose, or was altered (at secret)",
    "a key for another round": CLOSED
    + "the secret is not sealed to this key and purpose, or was altered (at secret)",
    "no snapshot": "dataset cardiology has no snapshot yet; sudo fedagent dataset snapshot cardiology",
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_refused_and_trains_nothing(clinic: Clinic, lie: str) -> None:
    make, reason = LIES[lie]
    order = make(clinic)
    with Connection(clinic) as connection:
        connection.give(order)
        refused = connection.expect(frames.JobRefused)
        assert refused.reason is reason, refused.text
        assert refused.text.replace(str(clinic.folder), "{}") == LINES[lie]
        connection.give(approved(clinic))  # and the supervisor is as good as before
        connection.expect(frames.JobSealed)
    assert len(clinic.jobs) == 1


def test_a_job_without_the_models_descriptor_is_refused(clinic: Clinic) -> None:
    with Connection(clinic) as connection:
        job, _ = clinic.job(approved(clinic), connection.ready.trainer_key)
        connection.channel.send(job)
        assert connection.expect(frames.JobRefused).reason is Reason.UNREADABLE


def test_a_pipe_in_the_models_place_is_refused(clinic: Clinic) -> None:
    reader, writer = os.pipe()
    with Connection(clinic) as connection:
        job, _ = clinic.job(approved(clinic), connection.ready.trainer_key)
        connection.channel.send(job, [reader])
        assert connection.expect(frames.JobRefused).reason is Reason.UNREADABLE
    os.close(reader)
    os.close(writer)


def test_an_older_round_is_refused_also_by_a_later_trainer(clinic: Clinic) -> None:
    order = approved(clinic)
    with Connection(clinic) as connection:
        connection.give(msgspec.structs.replace(order, round=3))
        connection.expect(frames.JobSealed)
    with Connection(clinic) as connection:
        connection.give(msgspec.structs.replace(order, round=2))
        refused = connection.expect(frames.JobRefused)
    assert (refused.reason, refused.round) == (Reason.ROUND_CLOSED, 2)
    assert len(clinic.jobs) == 1


def test_a_round_counts_as_begun_though_it_never_ended(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = approved(clinic)
    monkeypatch.setattr(child, "PROGRAM", program("burn"))
    with Connection(clinic) as connection:
        connection.give(msgspec.structs.replace(order, round=3))
        connection.expect(frames.JobProgress)
    monkeypatch.setattr(child, "PROGRAM", program("obey"))
    with Connection(clinic) as connection:
        connection.give(order)
        assert connection.expect(frames.JobRefused).reason is Reason.ROUND_CLOSED


def test_the_same_work_is_sealed_again_when_the_daemon_lost_it(clinic: Clinic) -> None:
    order = approved(clinic)
    with Connection(clinic) as connection:
        job, path = clinic.job(order, connection.ready.trainer_key)
        for _ in range(2):
            descriptor = os.open(path, os.O_RDONLY)
            connection.channel.send(job, [descriptor])
            os.close(descriptor)
            connection.expect(frames.JobSealed)
    assert len(clinic.jobs) == 2
    assert len(set(clinic.jobs)) == 1, "the second time goes on from the first one's checkpoint"


def test_a_sealed_round_is_not_trained_from_another_model(clinic: Clinic) -> None:
    order = approved(clinic)
    with Connection(clinic) as connection:
        connection.give(order)
        connection.expect(frames.JobSealed)
        connection.give(msgspec.structs.replace(order, model=model_bytes(IDENTITY, 0.75)))
        assert connection.expect(frames.JobRefused).reason is Reason.ROUND_CLOSED


def test_a_revocation_stops_a_result_that_is_already_computed(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "PROGRAM", program("patient"))
    with Connection(clinic) as connection:
        connection.give(approved(clinic))
        connection.expect(frames.JobProgress)
        clinic.revoke(IDENTITY)
        connection.channel.send(frames.CheckpointNow())  # the worker was waiting for this
        failed = connection.expect(frames.JobFailed)
    assert failed.reason is Reason.REVOKED


def test_a_sealed_result_can_be_read_by_the_aggregator_alone(clinic: Clinic) -> None:
    with Connection(clinic) as connection:
        connection.give(approved(clinic))
        sealed, descriptors = connection.expect_with(frames.JobSealed)
    secret, plain = clinic.open_update(sealed, read_all(descriptors))
    assert plain == model_bytes(IDENTITY, 0.5)
    assert [(metric.name, metric.count) for metric in secret.metrics] == [("auc", 40)]
    assert (sealed.rows, sealed.metrics, sealed.snapshot) == (secret.rows, secret.metrics, secret.snapshot)
    assert sealed.norm == pytest.approx((50_000 * 0.25) ** 0.5)


def test_an_evaluation_gives_metrics_and_no_update(clinic: Clinic) -> None:
    with Connection(clinic) as connection:
        connection.give(msgspec.structs.replace(approved(clinic), kind=RoundKind.EVALUATE))
        sealed, descriptors = connection.expect_with(frames.JobSealed)
    assert descriptors == []
    secret, _ = clinic.open_update(sealed, b"")
    assert [metric.name for metric in secret.metrics] == ["auc"]


def test_the_round_after_the_approved_ones_may_evaluate(clinic: Clinic) -> None:
    clinic.approve(IDENTITY, rounds=3)
    with Connection(clinic) as connection:
        connection.give(msgspec.structs.replace(clinic.order(IDENTITY, round=4), kind=RoundKind.EVALUATE))
        connection.expect(frames.JobSealed)


def test_the_worker_inherits_its_channel_and_the_lock_and_nothing_else(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "PROGRAM", program("look"))
    monkeypatch.setenv("FEDAGENT_SECRET", "s3cret")
    with Connection(clinic) as connection:
        connection.give(approved(clinic))
        connection.expect(frames.JobSealed)
    seen = json.loads((clinic.state / "seen.json").read_text(encoding="utf-8"))
    files = {name: target for name, target in seen["files"].items() if "memfd:model" not in target}
    assert files.pop("3").startswith("socket:")
    assert [Path(target).name for target in files.values()] == ["lock"]
    assert "FEDAGENT_SECRET" not in seen["environment"]
    assert seen["environment"]["OMP_NUM_THREADS"] == "1"
    assert seen["group"] == seen["pid"], "it leads its own process group"


def test_the_key_is_made_once_and_for_its_owner_only(clinic: Clinic) -> None:
    with Connection(clinic) as connection:
        first = connection.ready.trainer_key
    with Connection(clinic) as connection:
        assert connection.ready.trainer_key == first
    assert (clinic.state / "key").stat().st_mode & 0o777 == 0o600
    assert clinic.state.stat().st_mode & 0o777 == 0o700


def test_a_stop_with_erase_removes_the_checkpoints_and_keeps_the_round(clinic: Clinic) -> None:
    order = msgspec.structs.replace(approved(clinic), round=4)
    with Connection(clinic) as connection:
        connection.give(order)
        connection.expect(frames.JobSealed)
        folder = clinic.state / "checkpoints" / IDENTITY.name
        (folder / "4-of-this-study").touch()
        connection.channel.send(frames.JobStop(study=IDENTITY.name, erase=True))
        connection.give(msgspec.structs.replace(order, round=2))
        assert connection.expect(frames.JobRefused).reason is Reason.ROUND_CLOSED
        assert list(folder.iterdir()) == []


def test_a_revocation_while_no_trainer_ran_removes_the_checkpoints_at_the_next_start(clinic: Clinic) -> None:
    folder = clinic.state / "checkpoints" / IDENTITY.name
    with Connection(clinic) as connection:
        connection.give(approved(clinic))
        connection.expect(frames.JobSealed)
    (folder / "1-of-this-study").touch()
    with Connection(clinic):
        assert len(list(folder.iterdir())) == 1
    clinic.revoke(IDENTITY)
    with Connection(clinic):
        assert list(folder.iterdir()) == []


def test_an_erase_is_done_though_the_daemon_leaves_at_once(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "PROGRAM", program("burn"))
    folder = clinic.state / "checkpoints" / IDENTITY.name
    with Connection(clinic) as connection:
        connection.give(approved(clinic))
        connection.expect(frames.JobProgress)
        (folder / "1-of-this-study").touch()
        connection.channel.send(frames.JobStop(study=IDENTITY.name, erase=True))
        connection.end()
        assert list(folder.iterdir()) == []


def test_the_trainer_needs_the_authority(clinic: Clinic, capfd: pytest.CaptureFixture[str]) -> None:
    (clinic.folder / "ca.crt").unlink()
    connection = Connection(clinic)
    assert connection.next() is None
    assert connection.end() == "exit status 78"
    assert "trainer: cannot read" in capfd.readouterr().err


def test_a_round_file_that_is_damaged_is_never_begun_anew(clinic: Clinic) -> None:
    clinic.state.mkdir(mode=0o700)
    (clinic.state / "rounds.json").write_text("{", encoding="utf-8")
    connection = Connection(clinic)
    assert connection.next() is None
    assert connection.end() == "exit status 1"


def test_the_site_is_this_one() -> None:
    assert SITE in IDENTITY.federation.sites
