# SPDX-License-Identifier: Apache-2.0
"""Models on disk and as blobs."""

import hashlib
from pathlib import Path

import pytest

from fedagent.aggregator.models import Models
from fedagent.errors import StorageError
from fedagent.security.blob import BlobCipher
from fedagent.storage.blobs import BlobFolder
from fedagent.wire.manifest import blob_digest

DATA = bytes(range(256)) * 1000
CHUNK = 65_536


@pytest.fixture
def blobs(tmp_path: Path) -> BlobFolder:
    return BlobFolder(tmp_path / "blobs")


@pytest.fixture
def models(tmp_path: Path, blobs: BlobFolder) -> Models:
    return Models(tmp_path / "models", blobs)


def write(models: Models) -> bytes:
    return models.write("draft", [DATA[:1000], DATA[1000:]])


def test_a_model_lies_under_its_digest(models: Models) -> None:
    digest = write(models)
    assert digest == hashlib.sha256(DATA).digest()
    assert models.path(digest).read_bytes() == DATA


def test_a_published_model_decrypts_to_its_file_and_each_time_has_another_key(
    models: Models, blobs: BlobFolder
) -> None:
    digest = write(models)
    first, second = models.publish(digest, CHUNK), models.publish(digest, CHUNK)
    assert first.key != second.key
    assert first.reference.blob == blob_digest(first.manifest)
    assert first.reference.plaintext == digest
    cipher, last = BlobCipher(first.key), len(first.manifest.chunks) - 1
    plain = [
        cipher.decrypt(index, last=index == last, chunk=blobs.read_chunk(first.reference.blob, index))
        for index in range(last + 1)
    ]
    assert b"".join(plain) == DATA


def test_a_retired_model_keeps_its_file_alone(models: Models, blobs: BlobFolder) -> None:
    published = models.publish(write(models), CHUNK)
    models.velocity("heart-1", 3).write_bytes(b"x")
    models.retire("heart-1", 3, published.reference.blob)
    assert blobs.digests() == frozenset()
    assert not models.velocity("heart-1", 3).exists()
    assert models.path(published.reference.plaintext).exists()


def test_a_sweep_deletes_what_nobody_names(models: Models, blobs: BlobFolder) -> None:
    kept = models.publish(write(models), CHUNK)
    gone = models.publish(models.write("other", [b"abc"]), CHUNK)
    models.draft("died").write_bytes(b"half")
    velocity = models.velocity("heart-1", 1)
    velocity.write_bytes(b"x")
    models.velocity("heart-1", 2).write_bytes(b"x")
    models.sweep(plaintexts={kept.reference.plaintext}, blobs={kept.reference.blob}, velocities={velocity})
    assert set(models.path(b"").parent.iterdir()) == {models.path(kept.reference.plaintext), velocity}
    assert blobs.digests() == {kept.reference.blob}
    assert gone.reference.blob not in blobs.digests()


def test_an_exported_model_is_checked(models: Models, tmp_path: Path) -> None:
    digest = write(models)
    assert models.export(digest, tmp_path / "model.safetensors") == len(DATA)
    assert (tmp_path / "model.safetensors").read_bytes() == DATA
    models.path(digest).write_bytes(DATA[:-1])
    with pytest.raises(StorageError, match="damaged"):
        models.export(digest, tmp_path / "other.safetensors")
    assert not (tmp_path / "other.safetensors").exists()


def test_a_model_that_is_gone_is_an_error_that_says_what_to_do(models: Models, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="restore"):
        models.export(bytes(32), tmp_path / "model.safetensors")
