"""The frames of a burst are ones that a kernel takes."""

from __future__ import annotations

import socket
import struct

from halfopen.lab.scenes.bursts import datagrams
from halfopen.lab.scenes.ground import SERVER_END
from halfopen.lab.wiring import CLIENT, SERVER


def test_datagrams_have_a_header_that_adds_up() -> None:
    frames = datagrams(3, SERVER_END.mac)
    assert frames.shape == (3, 60)
    frame = frames[2].tobytes()
    assert frame[:6] == bytes.fromhex(SERVER.mac.replace(":", ""))
    assert frame[12:14] == b"\x08\x00"
    header = frame[14:34]
    total = sum(struct.unpack("!10H", header))
    assert (total & 0xFFFF) + (total >> 16) == 0xFFFF
    assert struct.unpack("!H", header[2:4])[0] == len(frame) - 14
    assert (header[12:16], header[16:20]) == (socket.inet_aton(CLIENT.v4), socket.inet_aton(SERVER.v4))
    assert header[9] == socket.IPPROTO_UDP
