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


def unix_listener(path: str, backlog: int, *, id: str = "metrics-listen", group: int | None = None) -> socket.socket:
    """A socket that listens at `path`, 0660, for `group` (None: the process's own). One that nobody listens on any more
    is replaced.

    Raises: HalfopenError `id` where another program listens there, or there is another kind of file.
    """
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    new = path + _NEW
    try:
        _make_room(path, id)
        # The mode is set before anybody can find it, and nobody can connect before it listens.
        if os.path.lexists(new):
            _make_room(new, id)
            os.unlink(new)
        made.bind(new)
        if group is not None:
            os.chown(new, -1, group)
        os.chmod(new, _MODE)
        made.listen(backlog)
        os.rename(new, path)
    except OSError as e:
        made.close()
        raise _problem(path, e, id) from None
    except BaseException:
        made.close()
        raise
    return made


def _make_room(path: str, id: str) -> None:
    """See that nothing is there, or a socket that nobody listens on. Raises: HalfopenError, OSError."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise HalfopenError(id, f"{path} is there and is no socket", hint="name another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
        one.setblocking(False)
        try:
            one.connect(path)
        except ConnectionRefusedError:
            return
        except BlockingIOError:  # its queue is full, so somebody listens
            pass
    raise HalfopenError(id, f"another program listens at {path}", hint="name another path")


def _problem(path: str, error: OSError, id: str) -> HalfopenError:
    if error.errno is None or "too long" in str(error):
        return HalfopenError(id, f"{path}: the path is too long for a socket", hint="name a shorter one")
    hint = "make its directory first" if error.errno == errno.ENOENT else "name another path"
    return HalfopenError(id, f"{path}: {os.strerror(error.errno)}", hint=hint)
