# SPDX-License-Identifier: Apache-2.0
"""A site's files as its trainer finds them, and the aggregator that signs for it; every part of a job can be spoiled."""

import hashlib
import os
import struct
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from fedagent.core.settings import Settings
from fedagent.security.blob import TAG_BYTES, BlobCipher, new_blob_key, plaintext_bytes
from fedagent.security.certificates import Signer, key_to_pem, make_key, subject
from fedagent.security.envelope import sign
from fedagent.security.identity import AGGREGATOR, Identity
from fedagent.security.sealing import (
    model_key_context,
    new_private_key,
    public_key,
    seal,
    unseal,
    update_context,
)
from fedagent.storage.settings import read_settings
from fedagent.wire import study as s
from fedagent.wire.codec import decode, encode
from fedagent.wire.frames import Job, JobSealed
from fedagent.wire.manifest import blob_digest, describe
from fedagent.wire.messages import Announcement, ModelReference, RoundKind, UpdateSecret
from fedagent.wire.tensors import encode_header, file_bytes
from fedagent.wire.topics import round_topic
from tests.fakes.certificates import FakeAuthority, leaf_extensions, pem

SITE = "clinic-a"

IDENTITY = s.Study(
    name="transfer",
    purpose="Measures the transfer.",
    contact="study@example.org",
    task=s.Identity(parameters=50_000, tensors=3, increment=0.5),
    federation=s.Federation(rounds=10, sites=(SITE, "clinic-b"), quorum=1, deadline_s=3600.0),
    chunk_bytes=65_536,
)

TABULAR = s.Study(
    name="heart",
    purpose="Predicts heart disease.",
    contact="study@example.org",
    task=s.TabularClassifier(
        columns=(s.Numeric(name="age"), s.Numeric(name="pressure")),
        label=s.Label(column="disease", classes=("no", "yes")),
        optimizer=s.Sgd(learning_rate=0.1),
        work=s.Steps(amount=10),
        batch_size=16,
        split=s.SeededSplit(),
    ),
    federation=s.Federation(rounds=10, sites=(SITE,), quorum=1, deadline_s=3600.0),
    chunk_bytes=65_536,
)


def holder(authority: FakeAuthority, identity: Identity) -> Signer:
    """A certificate that is valid now by the wall clock, as a real process reads it."""
    key, now = make_key(), datetime.now(UTC)
    leaf = authority.issue(
        key.public_key(),
        subject(identity.name),
        leaf_extensions(identity),
        begin=now - timedelta(hours=1),
        end=now + timedelta(hours=1),
    )
    return Signer(pem(leaf), key_to_pem(key, None))


def new_authority() -> FakeAuthority:
    now = datetime.now(UTC)
    return FakeAuthority(begin=now - timedelta(days=1), end=now + timedelta(days=1))


def model_bytes(study: s.Study, value: float = 0.25) -> bytes:
    shapes = s.model_shapes(study.task)
    header = encode_header(shapes)
    return header + struct.pack("<f", value) * ((file_bytes(shapes) - len(header)) // 4)


def encrypt(plain: bytes, key: bytes, chunk_bytes: int) -> list[bytes]:
    cipher, step = BlobCipher(key), chunk_bytes - TAG_BYTES
    offsets = range(0, len(plain), step)
    return [
        cipher.encrypt(index, last=offset + step >= len(plain), chunk=plain[offset : offset + step])
        for index, offset in enumerate(offsets)
    ]


class Clinic:
    """The site's folders and settings file, and an aggregator with its keys."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "trainer"
        self.approvals = folder / "approvals.d"
        self.approvals.mkdir()
        self.authority = new_authority()
        self.aggregator = holder(self.authority, AGGREGATOR)
        self.aggregator_key = new_private_key()
        (folder / "ca.crt").write_bytes(self.authority.pem)
        self.config = folder / "fedagent.toml"
        self.config.write_text(
            f"""
            [site]
            name = "{SITE}"
            [broker]
            host = "localhost"
            ca = "{folder}/ca.crt"
            [paths]
            state = "{folder}/state"
            trainer_state = "{self.state}"
            runtime = "{folder}/run"
            approvals = "{self.approvals}"
            datasets = "{folder}/datasets.d"
            [trainer]
            launch = "child"
            threads = 1
            checkpoint_every_s = 1.0
            """,
            encoding="utf-8",
        )

    def configure_trainer(self, **values: float) -> None:
        """More settings for the trainer; the section is the file's last."""
        with self.config.open("a", encoding="utf-8") as file:
            file.writelines(f"{name} = {value}\n" for name, value in values.items())

    @property
    def settings(self) -> Settings:
        return read_settings(self.config)

    @property
    def jobs(self) -> list[str]:
        """The jobs that the odd worker was given."""
        log = self.state / "jobs.log"
        return log.read_text(encoding="utf-8").splitlines() if log.exists() else []

    def approve(self, study: s.Study, *, dataset: str = "cardiology", rounds: int | None = None) -> None:
        limit = "" if rounds is None else f"rounds = {rounds}\n"
        (self.approvals / f"{study.name}.toml").write_text(
            f'study = "{study.name}"\ndigest = "{s.study_digest(study).hex()}"\ndataset = "{dataset}"\n'
            f'approved_by = "root"\napproved_at = "2026-01-01T00:00:00Z"\n{limit}',
            encoding="utf-8",
        )

    def revoke(self, study: s.Study) -> None:
        (self.approvals / f"{study.name}.toml").unlink()

    def order(self, study: s.Study, **changes: object) -> "Order":
        """A good job for this study; each change of an ``Order``'s field spoils or varies one part."""
        return msgspec.structs.replace(Order(study=study), **changes)

    def job(self, order: "Order", trainer_key: bytes) -> tuple[Job, Path]:
        """The frame, and the file with the model's ciphertext."""
        study = order.study
        plain = order.model if order.model is not None else model_bytes(study)
        key = new_blob_key()
        chunks = encrypt(plain, key, study.chunk_bytes)
        manifest = describe(chunks, study.chunk_bytes)
        reference = ModelReference(
            blob=blob_digest(manifest),
            size_bytes=manifest.size_bytes,
            chunk_bytes=study.chunk_bytes,
            plaintext=order.plaintext or hashlib.sha256(plain).digest(),
        )
        announcement = Announcement(
            study=study,
            round=order.round,
            round_kind=order.kind,
            model=reference,
            aggregator_key=public_key(self.aggregator_key),
            deadline_at=order.deadline_at,
        )
        signer = order.signer or self.aggregator
        topic = round_topic(order.topic or study.name)
        context = model_key_context(study.name, order.key_round or order.round, SITE, reference.blob)
        job = Job(
            study=order.topic or study.name,
            announcement=sign(encode(announcement), topic=topic, sequence=1, signer=signer),
            model_key=seal(order.key_for or trainer_key, key, context=context),
            site=order.site,
        )
        path = self.folder / f"model-{study.name}-{order.round}-{os.urandom(4).hex()}"
        path.write_bytes(order.ciphertext if order.ciphertext is not None else b"".join(chunks))
        return job, path

    def open_update(self, sealed: JobSealed, ciphertext: bytes) -> tuple[UpdateSecret, bytes]:
        """What the aggregator reads."""
        context = update_context(sealed.study, sealed.round, SITE)
        secret = decode(
            unseal(self.aggregator_key, sealed.secret, context=context), UpdateSecret, limit_bytes=16_384
        )
        cipher, size, step = BlobCipher(secret.key), len(ciphertext), sealed.chunk_bytes
        plain = b"".join(
            cipher.decrypt(index, last=offset + step >= size, chunk=ciphertext[offset : offset + step])
            for index, offset in enumerate(range(0, size, step))
        )
        assert len(plain) == plaintext_bytes(size, step)
        return secret, plain


class Order(msgspec.Struct, frozen=True):
    """How a job is made; the defaults give a good one."""

    study: s.Study
    round: int = 1
    kind: RoundKind = RoundKind.TRAIN
    site: str = SITE
    topic: str | None = None
    signer: Signer | None = None
    model: bytes | None = None
    plaintext: bytes | None = None
    ciphertext: bytes | None = None
    key_for: bytes | None = None
    key_round: int | None = None
    deadline_at: float = 0.0
