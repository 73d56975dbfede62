"""A trial of the guard: in a namespace of its own, a client connects to a listener by the guard's cookie."""

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
from halfopen.core.sample.guard import ANSWERS
from halfopen.linux import netns

_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914
_IFF_UP: Final = 1
_LOOPBACK: Final = 1
_HOST: Final = "127.0.0.1"
_WITHIN_S: Final = 5.0


def trial() -> None:
    """Load the guard, attach it in a private namespace, and let one client in by it.

    Raises: CannotGuard where the client did not get in, Unsupported, NotPermitted, KernelError.
    """
    fd = netns.create()
    try:
        netns.run_in(fd, _inside)
    finally:
        os.close(fd)


def _inside() -> None:
    _loopback_up()
    with socket.create_server((_HOST, 0), backlog=16) as listener, Guard() as guard:
        port = listener.getsockname()[1]
        guard.tell(GuardSettings(share=0.0, most_to_prefix=1000, mss=USUAL_MSS))
        guard.tell_local([(bytes([127, 0, 0, 0]), 8)])
        guard.tell_listeners([(V4_MAPPED + socket.inet_aton(_HOST), port)])
        guard.renew()
        guard.attach(_LOOPBACK, ethernet=True)
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
        if came != b"?" or guard.counts().accepted != 1:
            raise _failed("the connection did not come by the guard")


def _failed(why: str) -> CannotGuard:
    return CannotGuard(
        f"in a trial on a private host a client did not get in by the guard ({why})",
        hint="the kernel's own SYN cookies are the next best: halfopen tune apply --cookies on",
    )


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        asked = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(s, _SIOCGIFFLAGS, asked))[1]
        fcntl.ioctl(s, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))
