# SPDX-License-Identifier: Apache-2.0
"""A disk whose power fails: records what ``storage.disk`` asks of the kernel, then builds what a power loss could leave at worst.

What survives is what a sync covered: contents by one of the file, names by one of their folder. Whatever else was done may be
there or not, in any order: a write whole, in half, as zeros past the old end, or not at all; a new, renamed or removed name
or folder. Only a rename within a folder, and a byte, is the old or the new. That is less than ext4 promises (it keeps the order of names, and writes data
before a rename in most cases), and what the file systems of ALICE (Pillai et al., OSDI 2014, section 3.2) have in common.
"""

import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec
import pytest

from fedagent.storage import disk
from tests.fakes.recorded_calls import CallsWithoutSync, RecordedCalls

ROOT: Final = 0
RANDOM_IMAGES: Final = 12
"""At each point, beside those that differ from all or nothing in one thing."""


class Died(BaseException):
    """The process is gone; it does nothing more, not even clean up."""


class Wrote(msgspec.Struct, frozen=True):
    """Bytes of a file."""

    inode: int
    offset: int
    data: bytes


class Resized(msgspec.Struct, frozen=True):
    """A file's length."""

    inode: int
    size: int


class Named(msgspec.Struct, frozen=True):
    """Names of one folder that change at once; None is a name that is gone."""

    folder: int
    names: tuple[tuple[str, int | None], ...]


class Synced(msgspec.Struct, frozen=True):
    """A file's contents or a folder's names so far."""

    inode: int


Operation = Wrote | Resized | Named | Synced
Choice = str
"""What became of an operation that no sync covered: ``none``, ``all``; of a write also ``half`` or ``zeros``."""


class Image(msgspec.Struct, frozen=True):
    """What is on the disk when the power is back.

    Attributes:
        promises: what had been promised when it failed.
        story: where it failed, and what was lost, for the person who reads the failure.
    """

    folder: Path
    promises: frozenset[str]
    story: str


class Power:
    """Records below one folder.

    Args:
        root: what is in it is durable.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._log: list[Operation] = []
        self._promises: list[tuple[int, str]] = []
        self._folders: set[int] = {ROOT}
        self._contents: dict[int, bytes] = {}
        self._names: dict[tuple[int, str], int] = {}
        self._scan(ROOT, root)
        self._durable = dict(self._names), dict(self._contents), set(self._folders)
        self._descriptors: dict[int, tuple[int, int]] = {}
        self._dies_at: int | None = None

    @property
    def promised(self) -> list[str]:
        """All of it, in order."""
        return [what for _, what in self._promises]

    @contextmanager
    def recording(self, *, dies_after: int | None = None) -> Iterator[None]:
        """A process at work; it dies after so many operations, if it has as many."""
        self._dies_at = None if dies_after is None else len(self._log) + dies_after
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(disk, "os", RecordedCalls(self))
            try:
                yield
            except Died:
                self._descriptors.clear()

    def promise(self, what: str) -> None:
        """From here on somebody counts on it."""
        self._alive()
        self._promises.append((len(self._log), what))

    # --- what the calls do ------------------------------------------------------------------------------------------

    def opened(self, descriptor: int, path: Path, *, is_new: bool, truncates: bool) -> None:
        if not self._ours(path):
            return
        inode = self._create(path) if is_new else self._inode(path)
        self._descriptors[descriptor] = inode, 0
        if truncates and not is_new:
            self._note(Resized(inode, 0))

    def closed(self, descriptor: int) -> None:
        self._descriptors.pop(descriptor, None)

    def wrote(self, descriptor: int, data: bytes, offset: int | None) -> None:
        if descriptor in self._descriptors:
            inode, place = self._descriptors[descriptor]
            if offset is None:
                self._descriptors[descriptor] = inode, place + len(data)
            self._note(Wrote(inode, place if offset is None else offset, data))

    def resized(self, descriptor: int, size: int) -> None:
        if descriptor in self._descriptors:
            self._note(Resized(self._descriptors[descriptor][0], size))

    def synced(self, descriptor: int) -> None:
        if descriptor in self._descriptors:
            self._note(Synced(self._descriptors[descriptor][0]))

    def renamed(self, old: Path, new: Path, inode: int) -> None:
        sources, targets = self._folder_of(old), self._folder_of(new)
        if sources == targets:
            self._note(Named(targets, ((old.name, None), (new.name, inode))))
        else:
            self._note(Named(targets, ((new.name, inode),)))
            self._note(Named(sources, ((old.name, None),)))

    def named(self, path: Path, inode: int | None) -> None:
        if self._ours(path):
            self._note(Named(self._folder_of(path), ((path.name, inode),)))

    def made_folder(self, path: Path) -> None:
        if self._ours(path):
            self._folders.add(self._create(path, folder=True))

    def alive(self) -> None:
        self._alive()

    def inode_of(self, path: Path) -> int:
        return self._inode(path)

    def _alive(self) -> None:
        if self._dies_at is not None and len(self._log) >= self._dies_at:
            raise Died

    def _note(self, operation: Operation) -> None:
        self._log.append(operation)
        if isinstance(operation, Named):
            for name, inode in operation.names:
                if inode is None:
                    self._names.pop((operation.folder, name), None)
                else:
                    self._names[operation.folder, name] = inode
        self._alive()

    def _create(self, path: Path, *, folder: bool = False) -> int:
        inode = 1 + max([*self._contents, *self._folders])
        if folder:
            self._folders.add(inode)
        else:
            self._contents[inode] = b""
        self._note(Named(self._folder_of(path), ((path.name, inode),)))
        return inode

    def _ours(self, path: Path) -> bool:
        return path == self._root or self._root in path.parents

    def _inode(self, path: Path) -> int:
        if path == self._root:
            return ROOT
        folder = self._folder_of(path)
        if (
            folder,
            path.name,
        ) not in self._names:  # written by somebody who does not sync: all of it may be lost
            if path.is_dir():
                return self._create(path, folder=True)
            inode = self._create(path)
            self._note(Wrote(inode, 0, path.read_bytes()))
        return self._names[folder, path.name]

    def _folder_of(self, path: Path) -> int:
        return self._inode(path.parent)

    def _scan(self, inode: int, folder: Path) -> None:
        for path in sorted(folder.iterdir()):
            child = 1 + max([*self._contents, *self._folders])
            self._names[inode, path.name] = child
            if path.is_dir():
                self._folders.add(child)
                self._scan(child, path)
            else:
                self._contents[child] = path.read_bytes()

    # --- what may be left -------------------------------------------------------------------------------------------

    def images(self, folder: Path) -> Iterator[Image]:
        """The worst of them after each operation; each is there until the next is asked for.

        Args:
            folder: where they are built, one after the other.
        """
        seen: set[bytes] = set()
        dice = random.Random(0)
        for end in range(len(self._log) + 1):
            promises = frozenset(what for at, what in self._promises if at <= end)
            loose = [place for place in range(end) if self._is_loose(place, end)]
            for choices in self._choices(loose, dice):
                names, contents = self._after(end, choices)
                key = _fingerprint(names, contents, promises)
                if key in seen:
                    continue
                seen.add(key)
                target = folder / str(len(seen))
                self._build(ROOT, target, names, contents)
                yield Image(folder=target, promises=promises, story=self._story(end, choices))

    def _is_loose(self, place: int, end: int) -> bool:
        """Whether no sync covered this operation before the end."""
        operation = self._log[place]
        if isinstance(operation, Synced):
            return False
        inode = operation.folder if isinstance(operation, Named) else operation.inode
        return Synced(inode) not in self._log[place:end]

    def _choices(self, loose: list[int], dice: random.Random) -> Iterator[dict[int, Choice]]:
        kinds = {place: _fates(self._log[place]) for place in loose}
        yield dict.fromkeys(loose, "none")
        yield dict.fromkeys(loose, "all")
        for place, fates in kinds.items():
            yield dict.fromkeys(loose, "none") | {place: "all"}
            for fate in fates:
                yield dict.fromkeys(loose, "all") | {place: fate}
        for _ in range(RANDOM_IMAGES if loose else 0):
            yield {place: dice.choice(fates) for place, fates in kinds.items()}

    def _after(
        self, end: int, choices: dict[int, Choice]
    ) -> tuple[dict[tuple[int, str], int], dict[int, bytes]]:
        durable_names, durable_contents, _ = self._durable
        names, contents = dict(durable_names), dict(durable_contents)
        for place, operation in enumerate(self._log[:end]):
            fate = choices.get(place, "all")
            match operation:
                case _ if fate == "none":
                    pass
                case Wrote(inode=inode, offset=offset, data=data):
                    contents[inode] = _written(contents.get(inode, b""), offset, data, fate)
                case Resized(inode=inode, size=size):
                    contents[inode] = contents.get(inode, b"")[:size].ljust(size, b"\0")
                case Named():
                    _name(names, operation)
                case Synced():
                    pass
        return names, contents

    def _build(
        self, inode: int, target: Path, names: dict[tuple[int, str], int], contents: dict[int, bytes]
    ) -> None:
        target.mkdir(mode=0o700, parents=True)
        for (folder, name), child in names.items():
            if folder != inode:
                continue
            if child in self._folders:
                self._build(child, target / name, names, contents)
            else:
                (target / name).write_bytes(contents.get(child, b""))
                (target / name).chmod(0o600)

    def _story(self, end: int, choices: dict[int, Choice]) -> str:
        lines = [f"the power failed after operation {end}"]
        for place, operation in enumerate(self._log[:end]):
            fate = choices.get(place, "durable")
            shown = (
                repr(operation)
                if not isinstance(operation, Wrote)
                else f"Wrote({operation.inode}, {len(operation.data)} bytes)"
            )
            lines.append(f"{place + 1:4} {fate:8} {shown}")
        return "\n".join(lines)


def check_images(power: Power, folder: Path, check: Callable[[Image], None], *, at_least: int = 5) -> None:
    """Each image passes; what does not says what was lost. The checks wait for no real disk."""
    count = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disk, "os", CallsWithoutSync())
        for image in power.images(folder):
            count += 1
            try:
                check(image)
            except Exception as error:
                error.add_note(f"{image.story}\npromised: {sorted(image.promises)}")
                raise
            shutil.rmtree(image.folder)
    assert count >= at_least, f"only {count} images"


def _fates(operation: Operation) -> tuple[Choice, ...]:
    return ("none", "half", "zeros", "all") if isinstance(operation, Wrote) else ("none", "all")


def _written(before: bytes, offset: int, data: bytes, fate: Choice) -> bytes:
    if fate == "half":
        data = data[: len(data) // 2]
    elif fate == "zeros":  # the length was written, the data were not
        data = before[offset : offset + len(data)].ljust(len(data), b"\0")
    return before[:offset].ljust(offset, b"\0") + data + before[offset + len(data) :]


def _name(names: dict[tuple[int, str], int], operation: Named) -> None:
    for name, inode in operation.names:
        if inode is None:
            names.pop((operation.folder, name), None)
        else:
            names[operation.folder, name] = inode


def _fingerprint(
    names: dict[tuple[int, str], int], contents: dict[int, bytes], promises: frozenset[str]
) -> bytes:
    digest = sha256(repr((sorted(names.items()), sorted(promises))).encode())
    for inode in sorted(set(names.values())):
        digest.update(sha256(contents.get(inode, b"")).digest())
    return digest.digest()
