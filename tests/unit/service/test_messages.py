"""Frames come whole however they are cut, and what is no frame is refused before it takes memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halfopen.core.errors import WireError
from halfopen.service.messages import FRAME_MOST, FaceReport, Frames, Parcel, encode

PARCELS = st.builds(Parcel, st.integers(0, 2**40), st.text(max_size=20), st.binary(max_size=300))


@given(st.lists(PARCELS, max_size=8), st.integers(1, 50))
def test_whole_whatever_the_pieces(parcels: list[Parcel], size: int) -> None:
    data = b"".join(map(encode, parcels))
    frames = Frames(Parcel)
    found = [p for at in range(0, len(data), size) for p in frames.take(data[at : at + size])]
    assert found == parcels


@given(st.binary(max_size=100))
def test_no_bytes_are_taken_for_what_they_are_not(noise: bytes) -> None:
    frames = Frames(FaceReport, most=1000)
    try:
        assert all(isinstance(one, FaceReport) for one in frames.take(noise))
    except WireError:
        pass


def test_a_length_that_cannot_be_is_refused_at_once() -> None:
    with pytest.raises(WireError, match="frame of 4294967295 bytes"):
        list(Frames(Parcel).take(b"\xff\xff\xff\xff"))
    with pytest.raises(ValueError, match="bytes"):
        encode(Parcel(0, "metrics", b"x" * (FRAME_MOST + 1)))
