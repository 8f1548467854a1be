# SPDX-License-Identifier: Apache-2.0
"""Frames fit their datagram, and a descriptor's place is the frame's to say."""

import math

import msgspec
import pytest

from fedagent.errors import WireError
from fedagent.security.envelope import OVERHEAD_BYTES
from fedagent.wire import frames as f
from fedagent.wire.codec import decode, encode
from fedagent.wire.topics import CONTROL_BYTES
from tests.fakes.examples import ALL, FRAMES, SEALED


def test_frames_are_those_of_the_four_unions() -> None:
    unions = (f.DaemonFrame, f.SupervisorFrame, f.SupervisorToWorker, f.WorkerFrame)
    assert {type(frame) for frame in FRAMES} == {kind for union in unions for kind in union.__args__}


def test_the_longest_announcement_fits_a_job_and_the_job_its_datagram() -> None:
    longest = CONTROL_BYTES + OVERHEAD_BYTES
    job = f.Job(study="heart-1", announcement=bytes(longest), model_key=SEALED * 300, site="clinic-a")
    data = encode(job)
    assert len(data) < f.FRAME_BYTES
    assert decode(data, f.Job, limit_bytes=f.FRAME_BYTES) == job


@pytest.mark.parametrize("norm", [math.nan, math.inf, -1.0])
def test_an_updates_norm_is_a_number(norm: float) -> None:
    frame = msgspec.structs.replace(ALL["JobSealed"], norm=norm)
    with pytest.raises(WireError) as caught:
        decode(encode(frame), f.JobSealed, limit_bytes=f.FRAME_BYTES)
    assert caught.value.path == "$.norm"


@pytest.mark.parametrize("seconds", [math.nan, math.inf, 0.0])
def test_checkpoints_have_a_rhythm(seconds: float) -> None:
    frame = msgspec.structs.replace(ALL["WorkerJob"], checkpoint_every_s=seconds)
    with pytest.raises(WireError):
        decode(encode(frame), f.WorkerJob, limit_bytes=f.FRAME_BYTES)
