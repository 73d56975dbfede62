"""TCP frames by the thousand, as numpy arrays: SYNs of a realistic client and the ACKs that answer SYN-ACKs. Pure."""

from __future__ import annotations

import ipaddress
from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

ETH: Final = 14
_SYN: Final = 0x02
_ACK: Final = 0x10
# MSS 1460, SACK permitted, timestamps (value set per frame), no-op, window scale 7: what Linux and most clients send.
_SYN_OPTIONS: Final = bytes.fromhex("020405b4 0402 080a0000000000000000 01 030307")
_ACK_OPTIONS: Final = bytes.fromhex("0101 080a0000000000000000")
# Where the timestamp's value begins in each, from the start of the options.
_SYN_TIMESTAMP: Final = 8
_ACK_TIMESTAMP: Final = 4


def mac_bytes(text: str) -> bytes:
    """The six bytes of `02:00:00:00:00:01`."""
    return bytes.fromhex(text.replace(":", ""))


def fold(total: NDArray[np.uint32]) -> NDArray[np.uint16]:
    """Fold sums of 16-bit words, of any shape, into Internet checksums of that shape (RFC 1071)."""
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    checksums: NDArray[np.uint16] = (~total & 0xFFFF).astype(np.uint16)
    return checksums


def word_sums(data: Bytes) -> NDArray[np.uint32]:
    """The sum of the big-endian 16-bit words of each row, (N,), of data (N, length); the length is even."""
    words = data.reshape(len(data), -1, 2)
    high = words[:, :, 0].sum(axis=1, dtype=np.uint32)
    sums: NDArray[np.uint32] = high * np.uint32(256) + words[:, :, 1].sum(axis=1, dtype=np.uint32)
    return sums


def _put(frames: Bytes, offset: int, values: NDArray[Any], dtype: str) -> None:
    size = np.dtype(dtype).itemsize
    frames[:, offset : offset + size] = values.astype(dtype).view(np.uint8).reshape(-1, size)


class Path(Struct, frozen=True):
    """What all frames of one batch share: hardware addresses, and the server's address and port."""

    source_mac: str
    target_mac: str
    target: str
    port: int

    @property
    def v6(self) -> bool:
        """Whether the frames are IPv6."""
        return ":" in self.target

    @property
    def tcp_offset(self) -> int:
        """Where the TCP header begins."""
        return ETH + (40 if self.v6 else 20)

    def template(self, flags: int, options: bytes, window: int) -> bytes:
        """One frame with everything but source, ports, numbers, timestamps and the TCP checksum."""
        tcp_length = 20 + len(options)
        target = ipaddress.ip_address(self.target).packed
        ethernet = mac_bytes(self.target_mac) + mac_bytes(self.source_mac)
        if self.v6:
            ip = b"\x60\0\0\0" + tcp_length.to_bytes(2, "big") + b"\x06\x40" + bytes(16) + target
            ethernet += b"\x86\xdd"
        else:
            # Don't Fragment and identification 0, as Linux sends a SYN; the header checksum comes with the source.
            ip = b"\x45\0" + (20 + tcp_length).to_bytes(2, "big") + b"\0\0\x40\0\x40\x06\0\0" + bytes(4) + target
            ethernet += b"\x08\0"
        tcp = bytes(2) + self.port.to_bytes(2, "big") + bytes(8)
        tcp += bytes([(tcp_length // 4) << 4, flags]) + window.to_bytes(2, "big") + bytes(4) + options
        return ethernet + ip + tcp

    def _fill(self, template: bytes, source: Bytes, source_port: NDArray[Any]) -> Bytes:
        frames = np.empty((len(source), len(template)), dtype=np.uint8)
        frames[:] = np.frombuffer(template, dtype=np.uint8)
        if self.v6:
            frames[:, ETH + 8 : ETH + 24] = source
        else:
            frames[:, ETH + 12 : ETH + 16] = source
        _put(frames, self.tcp_offset, source_port, ">u2")
        return frames

    def _checksums(self, frames: Bytes) -> Bytes:
        tcp = self.tcp_offset
        if not self.v6:
            _put(frames, ETH + 10, fold(word_sums(frames[:, ETH:tcp])), ">u2")
        # The pseudo header: both addresses, the protocol and the length.
        addresses = ETH + (8 if self.v6 else 12)
        total = word_sums(frames[:, addresses:]) + np.uint32(6 + frames.shape[1] - tcp)
        _put(frames, tcp + 16, fold(total), ">u2")
        return frames

    def syns(self, source: Bytes, source_port: NDArray[Any], seq: NDArray[Any], timestamp: int) -> Bytes:
        """SYN frames (N, length) from source (N, 4 or 16), source_port (N,) and seq (N,)."""
        frames = self._fill(self.template(_SYN, _SYN_OPTIONS, 64240), source, source_port)
        tcp = self.tcp_offset
        _put(frames, tcp + 4, seq, ">u4")
        _put(frames, tcp + 20 + _SYN_TIMESTAMP, np.full(len(source), timestamp, dtype=np.uint32), ">u4")
        return self._checksums(frames)

    def acks(
        self,
        source: Bytes,
        source_port: NDArray[Any],
        seq: NDArray[Any],
        ack: NDArray[Any],
        timestamp: int,
        echo: NDArray[Any],
    ) -> Bytes:
        """The final ACKs of handshakes, (N, length), from source (N, 4 or 16) and source_port (N,).

        seq (N,): the client's number after its SYN. ack (N,): the server's plus one. timestamp: ours; echo (N,): of the
        SYN-ACK that is answered.
        """
        frames = self._fill(self.template(_ACK, _ACK_OPTIONS, 502), source, source_port)
        tcp = self.tcp_offset
        _put(frames, tcp + 4, seq, ">u4")
        _put(frames, tcp + 8, ack, ">u4")
        stamps = tcp + 20 + _ACK_TIMESTAMP
        _put(frames, stamps, np.full(len(source), timestamp, dtype=np.uint32), ">u4")
        _put(frames, stamps + 4, echo, ">u4")
        return self._checksums(frames)


class SynAcks(Struct, frozen=True, eq=False):
    """SYN-ACKs parsed from captured frames: whom they were for, and their numbers; arrays of one length."""

    source: Bytes
    source_port: NDArray[np.uint16]
    seq: NDArray[np.uint32]
    timestamp: NDArray[np.uint32]


def parse_syn_acks(frames: Bytes, v6: bool, port: int) -> SynAcks:
    """The SYN-ACKs of server port `port` among captured frames (N, at least tcp + 40 bytes); the rest is left out.

    `source` and `source_port` are the client's, which is where the frame was going.
    """
    tcp = ETH + (40 if v6 else 20)
    protocol = frames[:, ETH + (6 if v6 else 9)]
    wanted = (protocol == 6) & (frames[:, tcp + 13] & 0x12 == 0x12) & (_get(frames, tcp, ">u2") == port)
    chosen = frames[wanted]
    address = ETH + (24 if v6 else 16)
    # Linux puts MSS and SACK permitted before the timestamps of a SYN-ACK when the client offered all three.
    stamp = np.where(chosen[:, tcp + 26] == 8, _get(chosen, tcp + 28, ">u4"), 0)
    return SynAcks(
        np.ascontiguousarray(chosen[:, address : address + (16 if v6 else 4)]),
        _get(chosen, tcp + 2, ">u2").astype(np.uint16),
        _get(chosen, tcp + 4, ">u4").astype(np.uint32),
        stamp.astype(np.uint32),
    )


def _get(frames: Bytes, offset: int, dtype: str) -> NDArray[Any]:
    size = np.dtype(dtype).itemsize
    return np.ascontiguousarray(frames[:, offset : offset + size]).view(dtype).ravel()
