"""The messages between the two processes of the service, and their encoding on the socket.

A frame is the length of the rest (four bytes) and MessagePack: a `Parcel` from the eyes to the face, a `FaceReport`
back.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final, Generic, TypeVar

import msgspec

from halfopen.core.errors import DAMAGED, WireError
from halfopen.core.notice import ReceiverStanding

T = TypeVar("T")

FRAME_MOST: Final = 32 * 1024 * 1024
"""The longest frame, bytes: metrics of 4,000 listeners take 3 MB."""
_LENGTH: Final = struct.Struct("!I")

PING: Final = "ping"
"""The kind of a parcel that only asks for a report."""
SETTINGS: Final = "settings"
"""The kind of the first parcel: the settings of each part of the face, by kind."""


class Parcel(msgspec.Struct, array_like=True, frozen=True):
    """A message for one part of the face. number: counts up by one for parcels that must not be lost; 0: others. kind:
    of the part that takes it. body: in the encoding of that part.
    """

    number: int
    kind: str
    body: bytes


class FaceReport(msgspec.Struct, array_like=True, frozen=True):
    """How the face is. taken: the number of the last parcel that its part has; memory_bytes, cpu_s: of its process;
    dropped: parcels that its parts could not take in time; troubles: what went wrong since the last report, a line
    each; receivers: how those of notices do; watched: the languages in which somebody looks at the page.
    """

    taken: int
    memory_bytes: int = 0
    cpu_s: float = 0.0
    dropped: int = 0
    troubles: tuple[str, ...] = ()
    receivers: tuple[ReceiverStanding, ...] = ()
    watched: tuple[str, ...] = ()


_encoder = msgspec.msgpack.Encoder()


def encode(message: Parcel | FaceReport) -> bytes:
    """The frame of a message. Raises: ValueError if it is longer than a frame may be."""
    body = _encoder.encode(message)
    if len(body) > FRAME_MOST:
        raise ValueError(f"a message of {len(body)} bytes")
    return _LENGTH.pack(len(body)) + body


class Frames(Generic[T]):
    """Splits a stream of bytes into messages of one type."""

    def __init__(self, kind: type[T], most: int = FRAME_MOST) -> None:
        self._decoder: Any = msgspec.msgpack.Decoder(kind)
        self._most = most
        self._rest = bytearray()

    def take(self, data: bytes) -> Iterator[T]:
        """The messages that are complete with these bytes. Raises: WireError for an invalid length or message."""
        self._rest += data
        while len(self._rest) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._rest)
            if length > self._most:
                raise WireError(f"a frame of {length} bytes")
            end = _LENGTH.size + length
            if len(self._rest) < end:
                return
            body = bytes(memoryview(self._rest)[_LENGTH.size : end])
            del self._rest[:end]
            try:
                yield self._decoder.decode(body)
            except DAMAGED as e:
                raise WireError(f"not a message: {e}") from None
