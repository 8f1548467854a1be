# SPDX-License-Identifier: Apache-2.0
import fcntl
import mmap
import os
import socket
from collections.abc import Iterator

import pytest

from fedagent.channel import SEALS, FrameChannel, check_sealed, close_all, seal_memfd, sealed_memfd
from fedagent.conditions.condition import Said
from fedagent.errors import WireError
from fedagent.wire import frames
from fedagent.wire.codec import encode

Ends = tuple[socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    yield pair
    for end in pair:
        end.close()


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))  # noqa: PTH208 (names are all that is wanted)


def test_a_frame_arrives_with_its_descriptors_close_on_exec(ends: Ends) -> None:
    sent = os.memfd_create("sent")
    FrameChannel(ends[0]).send(frames.JobStop(study="heart"), [sent, sent])
    received = FrameChannel(ends[1]).receive(frames.DaemonFrame)
    assert received is not None
    frame, descriptors = received
    assert frame == frames.JobStop(study="heart")
    assert len(descriptors) == 2
    assert all(fcntl.fcntl(each, fcntl.F_GETFD) & fcntl.FD_CLOEXEC for each in descriptors)
    assert os.fstat(sent), "the sender keeps its own"
    close_all([sent, *descriptors])


def test_the_end_comes_after_what_was_sent(ends: Ends) -> None:
    FrameChannel(ends[0]).send(frames.CheckpointNow())
    FrameChannel(ends[0]).close()
    channel = FrameChannel(ends[1])
    assert channel.receive(frames.DaemonFrame) == (frames.CheckpointNow(), [])
    assert channel.receive(frames.DaemonFrame) is None


def test_a_peer_that_leaves_frames_unread_is_an_end_and_no_error(ends: Ends) -> None:
    FrameChannel(ends[1]).send(frames.CheckpointNow())
    ends[0].close()
    assert FrameChannel(ends[1]).receive(frames.DaemonFrame) is None


def test_what_a_peer_sent_last_arrives_though_it_left_frames_unread(ends: Ends) -> None:
    channel = FrameChannel(ends[1])
    channel.send(frames.CheckpointDone(step=1))
    FrameChannel(ends[0]).send(frames.JobStop(study="heart", erase=True))
    ends[0].close()
    assert channel.receive(frames.DaemonFrame) == (frames.JobStop(study="heart", erase=True), [])
    assert channel.receive(frames.DaemonFrame) is None


@pytest.mark.parametrize(
    "data",
    [
        b"\xc1",
        b"\x80",
        bytes(frames.FRAME_BYTES + 1),
        encode(frames.CheckpointDone(step=1)),
        encode(frames.JobStop(study="Not A Name")),
    ],
    ids=["not MessagePack", "no tag", "too long", "a frame of the other direction", "a bad name"],
)
def test_what_is_no_frame_is_refused_and_its_descriptors_are_closed(ends: Ends, data: bytes) -> None:
    sent = os.memfd_create("sent")
    socket.send_fds(ends[0], [data], [sent])
    before = open_descriptors()
    with pytest.raises(WireError):
        FrameChannel(ends[1]).receive(frames.DaemonFrame)
    assert open_descriptors() == before
    os.close(sent)


def test_too_many_descriptors_are_refused_and_closed(ends: Ends) -> None:
    sent = os.memfd_create("sent")
    count = frames.FRAME_DESCRIPTORS + 1
    with pytest.raises(WireError, match="5 descriptors"):
        FrameChannel(ends[0]).send(frames.CheckpointNow(), [sent] * count)
    socket.send_fds(ends[0], [encode(frames.CheckpointNow())], [sent] * count)
    before = open_descriptors()
    with pytest.raises(WireError, match="descriptors"):
        FrameChannel(ends[1]).receive(frames.DaemonFrame)
    assert open_descriptors() == before
    os.close(sent)


def test_a_frame_longer_than_a_datagram_is_not_sent(ends: Ends) -> None:
    job = frames.Job(
        study="heart", announcement=bytes(frames.FRAME_BYTES), model_key=bytes(48), site="clinic-a"
    )
    with pytest.raises(WireError, match="Job has"):
        FrameChannel(ends[0]).send(job)


def test_the_longest_job_fits_into_a_frame(ends: Ends) -> None:
    job = frames.Job(study="a" * 32, announcement=bytes(98_304), model_key=bytes(16_384), site="b" * 32)
    FrameChannel(ends[0]).send(job)
    assert FrameChannel(ends[1]).receive(frames.DaemonFrame) == (job, [])


def test_a_socket_that_does_not_wait_says_so(ends: Ends) -> None:
    ends[1].setblocking(False)
    with pytest.raises(BlockingIOError):
        FrameChannel(ends[1]).receive(frames.DaemonFrame)


def test_a_sealed_memfd_cannot_be_changed_by_anybody() -> None:
    descriptor = sealed_memfd("model", [b"abc", memoryview(b"def")])
    assert check_sealed(descriptor, 6) == 6
    assert os.pread(descriptor, 10, 0) == b"abcdef"
    with pytest.raises(PermissionError):
        os.pwrite(descriptor, b"x", 0)
    with pytest.raises(PermissionError):
        os.ftruncate(descriptor, 3)
    os.close(descriptor)


def test_a_memfd_whose_chunks_fail_is_closed() -> None:
    def chunks() -> Iterator[bytes]:
        yield b"abc"
        raise WireError(Said("", "altered"))

    before = open_descriptors()
    with pytest.raises(WireError):
        sealed_memfd("model", chunks())
    assert open_descriptors() == before


def test_what_is_not_sealed_or_too_large_is_refused() -> None:
    loose = os.memfd_create("loose", os.MFD_ALLOW_SEALING)
    with pytest.raises(WireError, match="not sealed"):
        check_sealed(loose, 10)
    seal_memfd(loose)
    assert fcntl.fcntl(loose, fcntl.F_GET_SEALS) == SEALS
    large = sealed_memfd("large", [bytes(11)])
    with pytest.raises(WireError, match="11 bytes"):
        check_sealed(large, 10)
    reader, writer = os.pipe()
    with pytest.raises(WireError, match="no memfd"):
        check_sealed(reader, 10)
    close_all([loose, large, reader, writer])


def test_a_memfd_that_its_maker_can_still_write_is_not_sealed() -> None:
    mapped = os.memfd_create("mapped", os.MFD_ALLOW_SEALING)
    os.ftruncate(mapped, 4096)
    never = os.memfd_create("never")
    with mmap.mmap(mapped, 4096), pytest.raises(WireError, match="cannot be sealed"):
        seal_memfd(mapped)
    with pytest.raises(WireError, match="cannot be sealed"):
        seal_memfd(never)
    close_all([mapped, never])
