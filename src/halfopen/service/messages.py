"""What the two processes of the service say to each other, and how it stands on the socket between them.

A frame is four bytes, the length of what follows, and that many bytes of msgpack: a `Parcel` from the eyes to the face,
a `FaceReport` back.
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
"""A frame has no more bytes: 4,000 listeners in the metrics are 3 MB."""
_LENGTH: Final = struct.Struct("!I")

PING: Final = "ping"
"""The kind of parcel that only asks for a report."""
SETTINGS: Final = "settings"
"""The kind of parcel that comes first: what each part of the face needs to begin, by its kind."""


class Parcel(msgspec.Struct, array_like=True, frozen=True):
    """Something for one part of the face. number: rises by one with each that must not be lost, 0: others. kind: of the
    part that takes it; body: as that part reads it.
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
    """A message as its frame. Raises: ValueError when it is longer than a frame may be."""
    body = _encoder.encode(message)
    if len(body) > FRAME_MOST:
        raise ValueError(f"a message of {len(body)} bytes")
    return _LENGTH.pack(len(body)) + body


class Frames(Generic[T]):
    """Takes bytes as they come, and gives the messages of one kind that are whole."""

    def __init__(self, kind: type[T], most: int = FRAME_MOST) -> None:
        self._decoder: Any = msgspec.msgpack.Decoder(kind)
        self._most = most
        self._rest = bytearray()

    def take(self, data: bytes) -> Iterator[T]:
        """The messages that are whole with this. Raises: WireError on a length or a message that cannot be."""
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
