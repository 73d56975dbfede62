"""A listening Unix socket under a name that appears with its mode set."""

from __future__ import annotations

import errno
import os
import socket
import stat
from typing import Final

from halfopen.core.errors import HalfopenError

# For the owner and the group, whatever the umask.
_MODE: Final = 0o660
_NEW: Final = ".new"


def unix_listener(path: str, backlog: int) -> socket.socket:
    """A socket that listens at `path`, 0660. One that nobody listens on any more is replaced.

    Raises: HalfopenError "metrics-listen" where another program listens there, or there is another kind of file.
    """
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    new = path + _NEW
    try:
        _make_room(path)
        # The mode is set before anybody can find it, and nobody can connect before it listens.
        if os.path.lexists(new):
            _make_room(new)
            os.unlink(new)
        made.bind(new)
        os.chmod(new, _MODE)
        made.listen(backlog)
        os.rename(new, path)
    except OSError as e:
        made.close()
        raise _problem(path, e) from None
    except BaseException:
        made.close()
        raise
    return made


def _make_room(path: str) -> None:
    """See that nothing is there, or a socket that nobody listens on. Raises: HalfopenError, OSError."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise HalfopenError("metrics-listen", f"{path} is there and is no socket", hint="name another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
        one.setblocking(False)
        try:
            one.connect(path)
        except ConnectionRefusedError:
            return
        except BlockingIOError:  # its queue is full, so somebody listens
            pass
    raise HalfopenError("metrics-listen", f"another program listens at {path}", hint="name another path")


def _problem(path: str, error: OSError) -> HalfopenError:
    if error.errno is None or "too long" in str(error):
        return HalfopenError("metrics-listen", f"{path}: the path is too long for a socket", hint="name a shorter one")
    hint = "make its directory first" if error.errno == errno.ENOENT else "name another path"
    return HalfopenError("metrics-listen", f"{path}: {os.strerror(error.errno)}", hint=hint)
