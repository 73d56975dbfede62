"""Bursts of packets that are too fast for a CPU: its queue overflows, and handshakes lose packets as well.

The server's device hands its packets to one CPU (RPS), where a long ruleset makes each of them cost time, and another
CPU sends. The queue holds 1,000 packets (net.core.netdev_max_backlog), for all namespaces together.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from typing import Final

import numpy as np

from halfopen.core.errors import LabError, Unsupported
from halfopen.lab.background import Background
from halfopen.lab.frames import Bytes
from halfopen.lab.host import LabHost
from halfopen.lab.raw_host import RawHost
from halfopen.lab.wiring import CLIENT, SERVER

_BUFFER: Final = 1 << 24
_RULES: Final = 1500
_MAX_S: Final = 600.0


def datagrams(n: int, source_mac: str) -> Bytes:
    """n UDP datagrams to an unused port of the server, as frames (n, 60)."""
    addresses = socket.inet_aton(CLIENT.v4) + socket.inet_aton(SERVER.v4)
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 46, 0, 0, 64, socket.IPPROTO_UDP, 0) + addresses
    total = sum(struct.unpack("!10H", ip))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    ip = ip[:10] + struct.pack("!H", ~total & 0xFFFF) + ip[12:]
    macs = bytes.fromhex((SERVER.mac + source_mac).replace(":", ""))
    # Without a checksum, which IPv4 allows.
    frame = macs + b"\x08\x00" + ip + struct.pack("!HHHH", 9, 9, 26, 0) + bytes(18)
    return np.tile(np.frombuffer(frame, dtype=np.uint8), (n, 1))


def slow_down(host: LabHost, cpu: int) -> None:
    """Make one CPU process the packets of the host's device, and a ruleset cost time for each.

    Raises: Unsupported without nft, or if RPS may not be set.
    """
    drops = "".join(f"  udp sport {1000 + i} udp dport {20_000 + i} drop\n" for i in range(_RULES))
    rules = f"table inet lab {{\n chain first {{\n  type filter hook prerouting priority -300;\n{drops} }}\n}}\n"
    steer = f"mount -t sysfs none /sys && echo {1 << cpu:x} > /sys/class/net/{host.device}/queues/rx-0/rps_cpus"
    for words, text in ((["nft", "-f", "-"], rules), (["unshare", "-m", "sh", "-c", steer], None)):
        try:
            done = host.exec(words, input=text)
        except LabError:
            raise Unsupported(words[0], f"this scene needs the {words[0]} command") from None
        if done.returncode:
            why = (done.stderr.strip().splitlines() or ["no message"])[0]
            raise Unsupported("rps", f"no queue of a CPU can be filled here: {why}", hint="run as root")


class Bursts(Background):
    """`size` datagrams at once, every `every_s`, until `stop`, or for ten minutes."""

    def __init__(self, server: LabHost, sender: RawHost, mac: str, size: int, every_s: float) -> None:
        """Raises: Unsupported on a machine with one CPU, or as `slow_down`."""
        cpus = sorted(os.sched_getaffinity(0))
        if len(cpus) < 2:
            raise Unsupported("two CPUs", "one CPU sends and another receives in this scene")
        slow_down(server, cpus[1])
        super().__init__()
        self._host, self._cpu, self._every_s = sender, cpus[0], every_s
        self._frames = datagrams(size, mac)
        self._begin("scene-bursts")

    def _send(self) -> None:
        os.sched_setaffinity(0, {self._cpu})  # applies to this thread only
        until_s = time.monotonic() + _MAX_S
        with self._host.sender() as sender:
            # The default send buffer holds fewer packets than the receiver's queue, so sending would block before the
            # queue overflows.
            sender.buffer(_BUFFER)
            while time.monotonic() < until_s and not self._stop.wait(self._every_s):
                sender.send_once(self._frames)

    def stop(self) -> None:
        """End it now. Raises: the error in `failed`."""
        self._end()
