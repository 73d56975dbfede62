"""Made the captures beside it: `sudo .venv/bin/python tests/golden/capture.py [plain] [mixed]`. Real answers of a real
kernel; `ss` beside them, as somebody else's reading of the same sockets.
"""

from __future__ import annotations

import ctypes
import json
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from halfopen.lab import Lab
from halfopen.linux.sockets import open_sock_diag
from halfopen.read import sockdiag
from halfopen.wire import inet_diag

HERE = Path(__file__).parent
_CAPABILITY_VERSION_3 = 0x20080522
_CAP_NET_ADMIN = 12
_DEADLINE_S = 10.0


def without_cap_net_admin() -> None:
    """Take CAP_NET_ADMIN from the calling thread's effective set (`capset(2)`); the thread is short-lived."""
    libc = ctypes.CDLL(None, use_errno=True)
    head = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    sets = ctypes.create_string_buffer(24)
    if libc.capget(head, sets):
        raise OSError(ctypes.get_errno(), "capget")
    words = list(struct.unpack("=6I", sets.raw))
    words[0] &= ~(1 << _CAP_NET_ADMIN)
    if libc.capset(head, struct.pack("=6I", *words)):
        raise OSError(ctypes.get_errno(), "capset")


def raw(lab: Lab, states: int, extensions: int = 0, *, capable: bool = True) -> bytes:
    """The bytes of one dump in the server's namespace, with CAP_NET_ADMIN or without."""

    def dump() -> bytes:
        if not capable:
            without_cap_net_admin()
        with open_sock_diag() as s:
            pieces = sockdiag.receive(s, inet_diag.dump_request(states, extensions=extensions))
            return b"".join(bytes(piece) for piece in pieces)

    return lab.server.run(dump)


def keep_files(lab: Lab, prefix: str, names: tuple[str, ...]) -> None:
    """Files of the server's /proc/net as they are."""
    for name in names:
        read: Callable[[], bytes] = Path(f"/proc/thread-self/net/{name}").read_bytes
        (HERE / f"{prefix}{name}.txt").write_bytes(lab.server.run(read))


def ss(lab: Lab, *words: str) -> str:
    """What `ss` says of the server's sockets."""
    command = ["ss", "-H", "-n", "-t", *words]
    return lab.server.run(lambda: subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def plain() -> None:
    """Five half-open connections each over IPv4, IPv6 and IPv4 to an IPv6 listener, as everybody shows them."""
    with Lab(seed=1) as lab:
        four = lab.server.listen(8080)
        both = lab.server.listen(8081, address="::")
        sent = [
            lab.client.half_open(four, 5),
            lab.client.half_open(both, 5, family=6),
            lab.client.half_open(both, 5, family=4),
        ]
        lab.settle(15)
        (HERE / "syn_recv.bin").write_bytes(raw(lab, sockdiag.SYN_RECV_STATES))
        (HERE / "listen.bin").write_bytes(raw(lab, sockdiag.LISTEN_STATES, 1 << 6))
        keep_files(lab, "", ("tcp", "tcp6", "snmp", "netstat"))
        truth = sorted([a, int(p)] for s in sent for a, p in zip(s.addresses(), s.source_port, strict=True))
        (HERE / "truth.json").write_text(json.dumps(truth) + "\n")


def mixed() -> None:
    """Every kind of request and listener: sent again and new, deferred, v4-mapped, bound to a device, an accept queue
    that is full, SO_REUSEPORT members, IPv6 only; and the same without CAP_NET_ADMIN.
    """
    with Lab(seed=2) as lab:
        old = lab.server.listen(8080)
        both = lab.server.listen(8081, address="::")
        deferring = lab.server.listen(8082, defer_accept_s=30)
        stuck = lab.server.listen(8083, backlog=2, mode="never")
        lab.server.listen(8084, address="::", v6only=True)
        bound = lab.server.listen(8085, device=lab.server.device)
        lab.server.listen(8086, reuseport=2)
        lab.client.connect(stuck, 3)
        lab.client.connect(deferring, 2)
        lab.client.half_open(old, 3)
        lab.client.half_open(both, 2, family=6)
        lab.client.half_open(both, 2, family=4)
        lab.client.half_open(bound, 1)
        lab.settle(10)
        lab.client.flood(stuck, 10, 0.4).wait()
        deadline = time.monotonic() + _DEADLINE_S
        # Each timer ran out once, and none will again while the pictures are taken.
        while not (lab.server.requests()["expires_ms"] > 1100).all():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        lab.client.half_open(old, 1)
        lab.settle(11)
        (HERE / "mixed_syn_recv.bin").write_bytes(raw(lab, sockdiag.SYN_RECV_STATES))
        (HERE / "mixed_syn_recv_88.bin").write_bytes(raw(lab, sockdiag.SYN_RECV_STATES, capable=False))
        (HERE / "mixed_ss_syn_recv.txt").write_text(ss(lab, "-o", "-e", "state", "syn-recv"))
        (HERE / "mixed_listen.bin").write_bytes(raw(lab, sockdiag.LISTEN_STATES, 1 << 6))
        (HERE / "mixed_listen_plain.bin").write_bytes(raw(lab, sockdiag.LISTEN_STATES, 1 << 6, capable=False))
        (HERE / "mixed_ss_listen.txt").write_text(ss(lab, "-l", "-e", "-m"))
        keep_files(lab, "mixed_", ("tcp", "tcp6", "netstat"))


def main() -> None:
    """Make the captures named, or all."""
    scenes = {"plain": plain, "mixed": mixed}
    for name in sys.argv[1:] or list(scenes):
        scenes[name]()


if __name__ == "__main__":
    main()
