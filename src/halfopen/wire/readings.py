"""Readings for live screens: frames as in a flight record (`wire.flight`), uncompressed, with one more kind.

They go from process to process on one machine and are not stored, so a reading may be as large as a flood makes it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from halfopen.core.errors import DAMAGED, WireError
from halfopen.core.flight import FlightEntry, FlightHead, FlightReading, FlightRound
from halfopen.wire import flight

# Far above the kinds of a flight record, so that more of those can be added.
_ROUND: Final = 128
FRAME_MOST: Final = 96 * 1024 * 1024
"""The longest frame, bytes."""
_decoder: Final[Any] = msgspec.msgpack.Decoder(FlightRound)


def encode(entry: FlightHead | FlightReading | FlightRound) -> bytes:
    """The frame of an entry."""
    if isinstance(entry, FlightRound):
        return flight.frame(_ROUND, entry, 0)
    return flight.encode(entry, 0)


class FrameTaker:
    """Puts the pieces of a stream together and yields complete entries."""

    def __init__(self) -> None:
        self._held = bytearray()

    def take(self, data: bytes) -> Iterator[FlightEntry | FlightRound]:
        """The entries that are complete with this piece. Raises: WireError if it is no stream of frames."""
        self._held += data
        at = 0
        while len(self._held) - at >= flight.FRAME.size:
            length, checksum, kind = flight.FRAME.unpack_from(self._held, at)
            if length > FRAME_MOST:
                raise WireError("a frame is too long", at)
            begin = at + flight.FRAME.size
            if len(self._held) - begin < length:
                break
            # A copy, as the buffer is truncated while entries may still refer to it.
            payload = memoryview(bytes(self._held[begin : begin + length]))
            if flight.checksum_of(kind, payload) != checksum:
                raise WireError("a frame has another checksum than its bytes", at)
            at = begin + length
            yield _round(payload, at) if kind == _ROUND else flight.entry_of(kind, payload, at, FRAME_MOST)
        del self._held[:at]


def _round(payload: memoryview, at: int) -> FlightRound:
    try:
        made: FlightRound = _decoder.decode(flight.unpacked(payload, at, FRAME_MOST))
    except (zlib.error, *DAMAGED) as e:
        raise WireError(f"a round is not as halfopen writes it ({e})") from None
    return made
