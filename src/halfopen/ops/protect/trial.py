"""A trial of the guard: in a private namespace, a client connects to a listener through the guard."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from typing import Final

from halfopen.change.guard import Guard, GuardSettings
from halfopen.core.addresses import V4_MAPPED
from halfopen.core.errors import CannotGuard
from halfopen.core.policy.guarding import USUAL_MSS
from halfopen.core.sample.guard import ANSWERS, FIRST_SYN, GEN_COOKIE, TC, XDP
from halfopen.linux import netns
from halfopen.read import procfs

_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914
_IFF_UP: Final = 1
_LOOPBACK: Final = 1
_HOST: Final = "127.0.0.1"
_WITHIN_S: Final = 5.0


def trial(rung: str = TC) -> None:
    """Load the guard of a rung, attach it in a private namespace, and connect a client through it.

    Raises: CannotGuard if the client did not get in, Unsupported, NotPermitted, KernelError.
    """
    fd = netns.create()
    try:
        netns.run_in(fd, lambda: _inside(rung))
    finally:
        os.close(fd)


def _inside(rung: str) -> None:
    _loopback_up()
    if rung == GEN_COOKIE:
        # With tcp_syncookies = 1 the kernel makes a cookie only while the queue is full.
        _always_cookies()
    with socket.create_server((_HOST, 0), backlog=16) as listener, Guard(rung) as guard:
        port = listener.getsockname()[1]
        guard.tell(GuardSettings(share=0.0, most_to_prefix=1000, mss=USUAL_MSS))
        guard.tell_local([(bytes([127, 0, 0, 0]), 8)])
        guard.tell_listeners([(V4_MAPPED + socket.inet_aton(_HOST), port)])
        guard.renew()
        guard.attach(_LOOPBACK, ethernet=True)
        if rung == XDP:
            # Generic XDP, as the loopback device has no native XDP; the program is the same.
            guard.attach_front(_LOOPBACK, in_driver=False)
        guard.set_mode(ANSWERS)
        listener.settimeout(_WITHIN_S)
        try:
            with socket.create_connection((_HOST, port), timeout=_WITHIN_S) as client:
                client.sendall(b"?")
                server, _ = listener.accept()
                with server:
                    server.settimeout(_WITHIN_S)
                    came = server.recv(1)
        except OSError as e:
            raise _failed(e.strerror or str(e)) from None
        if came != b"?" or not _came_by(guard, rung):
            raise _failed("the connection was not made by the guard")


def _came_by(guard: Guard, rung: str) -> bool:
    """Whether the guard let the client in."""
    counts = guard.counts()
    if rung == FIRST_SYN:
        return counts.held > 0 and counts.passed_for("second") == 1
    if rung == GEN_COOKIE:
        return counts.answered == 1 and procfs.counters().get("SyncookiesRecv") == 1
    return counts.accepted == 1 and counts.fronted == (rung == XDP)


def _always_cookies() -> None:
    """Have the kernel make a cookie for every SYN, in the private namespace of the calling thread."""
    try:
        with open("/proc/sys/net/ipv4/tcp_syncookies", "w") as f:
            f.write("2")
    except OSError as e:
        raise _failed(f"tcp_syncookies cannot be set: {e.strerror}") from None


def _failed(why: str) -> CannotGuard:
    return CannotGuard(
        f"in a trial on a private host a client did not get in through the guard ({why})",
        hint="the kernel's own SYN cookies are the next best: halfopen tune apply --cookies on",
    )


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        asked = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(s, _SIOCGIFFLAGS, asked))[1]
        fcntl.ioctl(s, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))
