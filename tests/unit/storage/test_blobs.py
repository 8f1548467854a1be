# SPDX-License-Identifier: Apache-2.0
"""The blob folder."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fedagent.conditions.condition import Said
from fedagent.errors import NoSpaceError, StorageError, WireError
from fedagent.storage.blobs import SYNC_CHUNKS, BlobFolder, read_at
from fedagent.wire.manifest import Manifest, blob_digest
from tests.fakes.blobs import CHUNK, blob_of
from tests.fakes.small_disk import small_disk


@pytest.fixture
def folder(state_folder: Path) -> BlobFolder:
    return BlobFolder(state_folder / "blobs")


def test_an_added_blob_is_found_by_its_digest(folder: BlobFolder) -> None:
    manifest, chunks = blob_of(3)
    added = folder.add_file(iter(chunks), CHUNK)
    digest = blob_digest(manifest)
    assert added == manifest == folder.manifest(digest)
    path = folder.path(digest)
    assert path
    assert path.read_bytes() == b"".join(chunks)
    assert path.stat().st_mode & 0o777 == 0o600
    assert folder.digests() == {digest}
    assert [folder.read_chunk(digest, index) for index in range(3)] == chunks
    assert folder.size_bytes() >= manifest.size_bytes


def test_an_empty_blob_is_whole_at_once(folder: BlobFolder) -> None:
    partial = folder.open_partial(Manifest(size_bytes=0, chunk_bytes=CHUNK, chunks=()))
    assert partial.complete
    assert partial.finish().read_bytes() == b""


def test_chunks_in_any_order_make_the_blob(folder: BlobFolder) -> None:
    manifest, chunks = blob_of(6)
    partial = folder.open_partial(manifest)
    for index in (5, 0, 3, 1, 4, 2):
        assert folder.path(partial.digest) is None
        assert partial.write(index, chunks[index])
    assert not partial.write(2, chunks[2])
    assert partial.finish().read_bytes() == b"".join(chunks)
    assert partial.finish() == folder.path(partial.digest)
    assert folder.unfinished() == frozenset()


@pytest.mark.parametrize(
    ("index", "change"),
    [
        pytest.param(0, lambda chunk: chunk[:-1], id="too short"),
        pytest.param(0, lambda chunk: chunk + b"x", id="too long"),
        pytest.param(0, lambda chunk: b"x" + chunk[1:], id="changed"),
        pytest.param(1, lambda chunk: chunk, id="another's place"),
        pytest.param(3, lambda chunk: chunk, id="past the end"),
        pytest.param(-1, lambda chunk: chunk, id="before the beginning"),
    ],
)
def test_a_wrong_chunk_is_refused_and_changes_nothing(folder: BlobFolder, index: int, change: object) -> None:
    manifest, chunks = blob_of(3)
    partial = folder.open_partial(manifest)
    assert callable(change)
    with pytest.raises(WireError, match="chunk"):
        partial.write(index, change(chunks[0]))
    assert partial.missing() == [0, 1, 2]


def test_what_was_synced_is_there_after_a_restart_and_nothing_else(folder: BlobFolder) -> None:
    manifest, chunks = blob_of(9)
    partial = folder.open_partial(manifest)
    for index in range(SYNC_CHUNKS + 1):
        partial.write(index, chunks[index])
    assert partial.have(SYNC_CHUNKS)
    assert partial.stored == SYNC_CHUNKS
    again = folder.open_partial(manifest)
    assert again.missing() == list(range(SYNC_CHUNKS, 9))
    partial.sync()
    assert folder.open_partial(manifest).stored == SYNC_CHUNKS + 1
    assert folder.unfinished() == {partial.digest}


def test_an_unfinished_blob_cannot_be_finished(folder: BlobFolder) -> None:
    manifest, chunks = blob_of(2)
    partial = folder.open_partial(manifest)
    partial.write(0, chunks[0])
    with pytest.raises(StorageError, match=r"not whole \(\d+ bytes, must be \d+\); delete it"):
        partial.finish()


def test_bits_without_their_data_are_not_believed(folder: BlobFolder, state_folder: Path) -> None:
    manifest, chunks = blob_of(SYNC_CHUNKS)
    partial = folder.open_partial(manifest)
    for index, chunk in enumerate(chunks):
        partial.write(index, chunk)
    (state_folder / "blobs" / f"{partial.digest.hex()}.part").unlink()
    assert folder.open_partial(manifest).missing() == list(range(SYNC_CHUNKS))


def test_a_whole_blob_needs_no_chunk(folder: BlobFolder) -> None:
    manifest, chunks = blob_of(2)
    folder.add_file(chunks, CHUNK)
    partial = folder.open_partial(manifest)
    assert partial.complete
    assert not partial.write(0, chunks[0])
    assert partial.finish().read_bytes() == b"".join(chunks)


def test_nothing_is_left_of_a_deleted_blob(folder: BlobFolder, state_folder: Path) -> None:
    whole, chunks = blob_of(2)
    folder.add_file(chunks, CHUNK)
    growing, more = blob_of(SYNC_CHUNKS + 1, seed=1)
    partial = folder.open_partial(growing)
    for index in range(SYNC_CHUNKS):
        partial.write(index, more[index])
    for digest in (blob_digest(whole), partial.digest, bytes(32)):
        folder.delete(digest)
    assert list((state_folder / "blobs").iterdir()) == []


def test_a_blob_that_is_not_here_cannot_be_read(folder: BlobFolder) -> None:
    manifest, chunks = blob_of(2)
    folder.add_file(chunks, CHUNK)
    for digest, index in ((bytes(32), 0), (blob_digest(manifest), 2)):
        with pytest.raises(WireError, match="no"):
            folder.read_chunk(digest, index)
    with pytest.raises(WireError, match="no blob"):
        folder.read_manifest(bytes(32))


def test_a_damaged_manifest_counts_as_none(folder: BlobFolder, state_folder: Path) -> None:
    manifest, chunks = blob_of(2)
    folder.add_file(chunks, CHUNK)
    (state_folder / "blobs" / f"{blob_digest(manifest).hex()}.manifest").write_bytes(b"\0")
    assert folder.manifest(blob_digest(manifest)) is None
    assert folder.manifest(bytes(32)) is None


def test_a_file_that_is_too_short_is_damaged(state_folder: Path) -> None:
    (state_folder / "file").write_bytes(b"abc")
    with pytest.raises(StorageError, match="it is damaged; delete it"):
        read_at(state_folder / "file", 1, 3)


def test_an_error_of_the_source_leaves_nothing(folder: BlobFolder, state_folder: Path) -> None:
    def chunks() -> list[bytes]:
        raise WireError(Said("", "the source broke"))

    with pytest.raises(WireError):
        folder.add_file((chunk for _ in range(1) for chunk in chunks()), CHUNK)
    assert list((state_folder / "blobs").iterdir()) == []


def test_a_folder_that_is_gone_is_told(folder: BlobFolder, state_folder: Path) -> None:
    (state_folder / "blobs").rmdir()
    with pytest.raises(
        StorageError, match=r"cannot use .*blobs: No such file or directory; correct its owner"
    ):
        folder.add_file([b"x"], CHUNK)


WRITE = """
import sys
from pathlib import Path
from fedagent.storage.blobs import BlobFolder
from tests.fakes.blobs import CHUNK, blob_of
folder = BlobFolder(Path(sys.argv[1]))
manifest, chunks = blob_of(6)
if sys.argv[2] == "add":
    folder.add_file(chunks, CHUNK)
else:
    partial = folder.open_partial(manifest)
    for index, chunk in enumerate(chunks):
        partial.write(index, chunk)
    partial.finish()
"""


@pytest.mark.parametrize("point", ["file-before-rename:1", "file-before-rename:2", "file-after-rename:2"])
@pytest.mark.parametrize("way", ["add", "fill"])
def test_a_process_killed_at_a_rename_leaves_a_blob_that_is_whole_or_goes_on(
    state_folder: Path, point: str, way: str
) -> None:
    path = state_folder / "blobs"
    environment = {**os.environ, "FEDAGENT_FAILPOINT": point, "PYTHONPATH": os.pathsep.join(sys.path)}
    died = subprocess.run([sys.executable, "-c", WRITE, str(path), way], env=environment, check=False)
    assert died.returncode == -signal.SIGKILL
    folder = BlobFolder(path)
    manifest, chunks = blob_of(6)
    partial = folder.open_partial(manifest)
    for index in partial.missing():
        partial.write(index, chunks[index])
    assert partial.finish().read_bytes() == b"".join(chunks)
    assert not [each for each in path.iterdir() if each.name.startswith(".incoming")]


def test_a_blob_that_does_not_fit_is_refused_before_its_first_chunk_and_leaves_nothing(
    state_folder: Path,
) -> None:
    manifest, chunks = blob_of(3)
    with small_disk(state_folder / "disk", mib=1) as disk:
        folder = BlobFolder(disk.folder / "blobs")
        disk.fill(but_bytes=2 * CHUNK)
        with pytest.raises(NoSpaceError):
            folder.open_partial(manifest)
        assert not folder.unfinished()
        disk.empty()
        partial = folder.open_partial(manifest)
        disk.fill(but_bytes=8192)  # for the bits; the chunks have their room already
        for index, chunk in enumerate(chunks):
            partial.write(index, chunk)
        assert partial.finish().stat().st_size == manifest.size_bytes


def test_a_blob_is_begun_only_where_the_reserve_stays_free(state_folder: Path) -> None:
    manifest, _ = blob_of(3)
    with small_disk(state_folder / "disk", mib=1) as disk:
        with pytest.raises(NoSpaceError, match="are needed"):
            BlobFolder(disk.folder / "blobs", reserve_bytes=1_048_576 - 2 * CHUNK).open_partial(manifest)
        BlobFolder(disk.folder / "blobs", reserve_bytes=1_048_576 - 5 * CHUNK).open_partial(manifest)


def test_chunks_that_could_not_be_made_durable_are_missing_again(state_folder: Path) -> None:
    manifest, chunks = blob_of(3)
    with small_disk(state_folder / "disk", mib=1) as disk:
        partial = BlobFolder(disk.folder / "blobs").open_partial(manifest)
        partial.write(0, chunks[0])
        disk.fill()
        with pytest.raises(NoSpaceError):
            partial.sync()
        assert partial.missing() == [0, 1, 2]
        assert partial.stored == 0


def test_a_blob_above_the_budget_waits_until_another_has_gone(state_folder: Path) -> None:
    budget = BlobFolder(state_folder / "blobs", budget_bytes=5 * CHUNK)
    first, _ = blob_of(3)
    second, _ = blob_of(3, seed=1)
    partial = budget.open_partial(first)
    with pytest.raises(NoSpaceError, match=r"above their budget of 0 MiB; raise transfer.blob_budget_mib"):
        budget.open_partial(second)
    assert budget.add_file([b"an update"], CHUNK) is not None, "an update that was trained is always kept"
    assert budget.open_partial(first).manifest == partial.manifest, "what was begun goes on"
    budget.delete(partial.digest)
    budget.open_partial(second)
