"""Frames survive the wire, however it cuts them."""

import struct

import msgpack
import pytest
from fake_model import submit
from hypothesis import given
from hypothesis import strategies as st

from lowcloud.engines.local.frames import (
    MAX_FRAME_BYTES,
    Accepted,
    Cancel,
    Encode,
    Failed,
    FrameReader,
    Ready,
    Refused,
    Step,
    Vectors,
    encode,
)

IDS = st.lists(st.integers(0, 2**31), max_size=5)
FRAMES = st.one_of(
    st.builds(lambda ids, bias, seed: submit(7, ids, logit_bias=[[3, bias]], seed=seed), IDS, st.floats(-100, 100),
              st.integers(-(2**63), 2**63 - 1)),
    st.builds(Cancel, st.integers(0, 2**40)),
    st.builds(Encode, st.integers(0, 9), IDS, st.sampled_from(["mean", "cls"])),
    st.builds(Ready, st.text(), st.booleans(), st.integers(1, 9), st.integers(1, 9), st.integers(0, 9), st.text()),
    st.builds(Failed, st.text()),
    st.builds(Accepted, st.integers(0, 9), st.integers(0, 9)),
    st.builds(Refused, st.integers(0, 9), st.just("too_long"), st.text()),
    st.builds(lambda token, p: Step([[1, [token], [[p, [[token, p]]]], None], [2, [], None, "stop"]], [0] * 6),
              st.integers(0, 9), st.floats(-50, 0)),
    st.builds(lambda vector: Vectors([[1, vector]]), st.binary(max_size=20)),
)  # fmt: skip


@given(st.lists(FRAMES, max_size=6), st.integers(1, 64))
def test_frames_come_out_as_they_went_in_wherever_the_bytes_are_cut(frames, size):
    data = b"".join(encode(frame) for frame in frames)
    reader = FrameReader()
    read = [frame for start in range(0, len(data), size) for frame in reader.feed(data[start : start + size])]
    assert read == frames


def test_a_frame_over_the_limit_is_refused_before_its_bytes_come():
    with pytest.raises(ValueError, match="over the limit"):
        FrameReader().feed(struct.pack("<I", MAX_FRAME_BYTES + 1))


@pytest.mark.parametrize("body", [[99], [-1, 1], [1], [1, 2, 3], ["x"], [], 5, None])
def test_a_frame_that_no_peer_sends_is_a_value_error(body):
    data = msgpack.packb(body)
    with pytest.raises(ValueError, match="frame"):
        FrameReader().feed(struct.pack("<I", len(data)) + data)


def test_bytes_that_are_no_msgpack_are_a_value_error():
    with pytest.raises(ValueError, match="frame"):
        FrameReader().feed(struct.pack("<I", 2) + b"\xc1\xc1")
