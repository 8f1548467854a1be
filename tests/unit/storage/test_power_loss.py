# SPDX-License-Identifier: Apache-2.0
"""Power fails at any point: files and blobs are the old or the new, whole, and what was promised is there."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fedagent.errors import FedagentError
from fedagent.storage import disk
from fedagent.storage.blobs import BlobFolder
from fedagent.storage.files import make_private_folder, write_atomically
from fedagent.wire.manifest import blob_digest, chunk_size
from tests.fakes.blobs import CHUNK, blob_of
from tests.fakes.power import Image, Power, check_images

OLD, NEW = b"old " * 50, b"the new one " * 50
MANIFEST, CHUNKS = blob_of(6)
DIGEST = blob_digest(MANIFEST)
WHOLE = b"".join(CHUNKS)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return tmp_path / "images"


# --- the recorder sees what is wrong --------------------------------------------------------------------------------


def without_contents(path: Path) -> None:
    with disk.created(path.with_name("part")) as file:
        file.write(NEW)
    disk.rename(path.with_name("part"), path)


def without_name(path: Path) -> None:
    with disk.created(path) as file:
        file.write(NEW)
        file.sync()


def in_place(path: Path) -> None:
    with disk.created(path) as file:
        file.write(NEW)
        file.sync()
    disk.sync_folder(path.parent)


def in_an_unsynced_folder(path: Path) -> None:
    made = path.parent / "made"
    vars(disk)["os"].mkdir(made, 0o700)
    write_atomically(made / "inner", NEW)


WRONG: list[tuple[Callable[[Path], None], str, bool]] = [
    (without_contents, "file", True),
    (without_name, "new", False),
    (in_place, "file", True),
    (in_an_unsynced_folder, "made/inner", False),
]


@pytest.mark.parametrize(("write", "name", "there"), WRONG, ids=[case[0].__name__ for case in WRONG])
def test_a_wrong_order_is_seen(
    state_folder: Path, images: Path, write: Callable[[Path], None], name: str, there: bool
) -> None:
    if there:
        (state_folder / "file").write_bytes(OLD)
    power = Power(state_folder)
    with power.recording():
        write(state_folder / ("file" if there or "/" in name else name))
        power.promise("new")

    def check(image: Image) -> None:
        path = image.folder / name
        found = path.read_bytes() if path.exists() else b""
        assert found == NEW or ("new" not in image.promises and found == (OLD if there else b""))

    with pytest.raises(AssertionError):
        check_images(power, images, check)


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [OLD, None], ids=["over an old one", "for the first time"])
def test_a_file_is_the_old_or_the_new(state_folder: Path, images: Path, before: bytes | None) -> None:
    path = state_folder / "file"
    if before is not None:
        path.write_bytes(before)
    power = Power(state_folder)
    with power.recording():
        write_atomically(path, NEW)
        power.promise("new")

    def check(image: Image) -> None:
        kept = image.folder / "file"
        found = kept.read_bytes() if kept.exists() else None
        assert found in ({NEW} if "new" in image.promises else {before, NEW})

    check_images(power, images, check)


def test_a_new_folder_does_not_take_with_it_what_was_promised_in_it(state_folder: Path, images: Path) -> None:
    power = Power(state_folder)
    with power.recording():
        folder = make_private_folder(state_folder / "above" / "below")
        write_atomically(folder / "file", NEW)
        power.promise("new")

    def check(image: Image) -> None:
        path = image.folder / "above" / "below" / "file"
        assert path.exists() or "new" not in image.promises
        assert not path.exists() or path.read_bytes() == NEW

    check_images(power, images, check)


def test_what_a_killed_process_left_is_durable_before_it_counts(state_folder: Path, images: Path) -> None:
    """The next one finds the renamed file, and acts on it: it must not be lost any more."""
    for number in range(1, 20):
        root = make_private_folder(state_folder / str(number))
        power = Power(root)
        with power.recording(dies_after=number):
            write_atomically(make_private_folder(root / "state") / "file", NEW)
        with power.recording():
            folder = make_private_folder(root / "state")
            if (folder / "file").exists():
                power.promise("found")

        def check(image: Image) -> None:
            assert "found" not in image.promises or (image.folder / "state/file").read_bytes() == NEW

        check_images(power, images / str(number), check, at_least=1)


# --- blobs ------------------------------------------------------------------------------------------------------------


def check_blob(image: Image) -> None:
    """Whole, or every chunk that it claims to have is right; and all that was promised is there."""
    folder = BlobFolder(image.folder / "blobs")
    path = folder.path(DIGEST)
    assert path is not None or "whole" not in image.promises
    if path is not None:
        assert path.read_bytes() == WHOLE
    assert not list((image.folder / "blobs").glob(".incoming*"))
    partial = folder.open_partial(MANIFEST)
    for index in range(len(CHUNKS)):
        if path is None and partial.have(index):
            with (image.folder / "blobs" / f"{DIGEST.hex()}.part").open("rb") as file:
                file.seek(index * CHUNK)
                assert file.read(chunk_size(MANIFEST, index)) == CHUNKS[index]
    assert partial.stored >= max([int(each) for each in image.promises if each.isdigit()], default=0)
    for index in partial.missing():
        partial.write(index, CHUNKS[index])
    assert partial.finish().read_bytes() == WHOLE
    if "whole" in image.promises:
        assert folder.read_chunk(DIGEST, 1) == CHUNKS[1]


def fill(power: Power, root: Path) -> None:
    """A process that goes on with the blob, and tells how much is durable."""
    partial = BlobFolder(root / "blobs").open_partial(MANIFEST)
    power.promise(str(partial.stored))
    for index in partial.missing():
        partial.write(index, CHUNKS[index])
        power.promise(str(partial.stored))
    partial.finish()
    power.promise("whole")


def test_a_blob_that_was_added_is_whole(state_folder: Path, images: Path) -> None:
    power = Power(state_folder)
    with power.recording():
        BlobFolder(state_folder / "blobs").add_file(CHUNKS, CHUNK)
        power.promise("whole")
    check_images(power, images, check_blob, at_least=50)


def test_a_blob_that_grows_has_what_it_says(state_folder: Path, images: Path) -> None:
    power = Power(state_folder)
    with power.recording():
        fill(power, state_folder)
    check_images(power, images, check_blob, at_least=30)


def test_a_blob_that_comes_again_after_its_deletion_believes_no_old_bit(
    state_folder: Path, images: Path
) -> None:
    power = Power(state_folder)
    with power.recording():
        folder = BlobFolder(state_folder / "blobs")
        partial = folder.open_partial(MANIFEST)
        for index in (0, 1, 2, 3):
            partial.write(index, CHUNKS[index])
        folder.delete(DIGEST)
        folder.open_partial(MANIFEST).write(5, CHUNKS[5])
    check_images(power, images, check_blob, at_least=50)


@pytest.mark.parametrize("number", range(1, 40, 3))
def test_a_blob_goes_on_after_a_kill_and_then_a_power_loss(
    state_folder: Path, images: Path, number: int
) -> None:
    power = Power(state_folder)
    with power.recording(dies_after=number):
        fill(power, state_folder)
    with power.recording():
        fill(power, state_folder)
    check_images(power, images, check_blob, at_least=1)


def test_a_blob_that_cannot_be_finished_promises_nothing(state_folder: Path, images: Path) -> None:
    power = Power(state_folder)
    with power.recording():
        partial = BlobFolder(state_folder / "blobs").open_partial(MANIFEST)
        partial.write(0, CHUNKS[0])
        with pytest.raises(FedagentError):
            partial.finish()
        power.promise(str(partial.stored))
    check_images(power, images, check_blob)
