"""Change an option of a listening socket, through a duplicate of it."""

from __future__ import annotations

import errno
import os
import socket
from typing import Final

from halfopen.core.errors import HalfopenError, KernelError, NotPermitted, Refused, UnknownTarget, Unsupported
from halfopen.core.tune.keys import BACKLOG, DEFER, RETRIES

_TCP_LISTEN: Final = 10
_OPTIONS: Final = {RETRIES: socket.TCP_SYNCNT, DEFER: socket.TCP_DEFER_ACCEPT}


def write(s: socket.socket, key: str, value: int) -> None:
    """Set an option (key as in the journal) of the listener behind `s`.

    The backlog is set by listen(), which on a listening socket only changes sk_max_ack_backlog (`__inet_listen_sk()`).

    Raises: Refused if the kernel does not accept the value, Unsupported if this socket does not have the option,
    UnknownTarget if it does not listen any more, NotPermitted, KernelError. Nothing has changed then.
    """
    # If the program has called shutdown(), listen() would make the socket listen again.
    if s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != _TCP_LISTEN:
        raise UnknownTarget("the socket no longer listens")
    try:
        if key == BACKLOG:
            s.listen(value)
        else:
            s.setsockopt(socket.IPPROTO_TCP, _OPTIONS[key], value)
    except OSError as e:
        raise _problem(key, value, e.errno or 0) from None


def _problem(key: str, value: int, code: int) -> HalfopenError:
    if code in (errno.EINVAL, errno.ERANGE):
        return Refused(f"the kernel refuses {key} = {value}: {os.strerror(code)}")
    if code in (errno.ENOPROTOOPT, errno.EOPNOTSUPP):
        return Unsupported(key, f"this socket has no {key}: {os.strerror(code)}")
    if code in (errno.EPERM, errno.EACCES):
        return NotPermitted(f"setting {key} is refused", hint="a security module may forbid it: journalctl -k")
    return KernelError(f"setting {key}", code)
