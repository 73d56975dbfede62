"""A listening Unix socket whose name appears with its mode already set."""

from __future__ import annotations

import errno
import os
import socket
import stat
from typing import Final

from halfopen.core.errors import HalfopenError

# Read and write for the owner and the group, whatever the umask.
_MODE: Final = 0o660
_NEW: Final = ".new"


def unix_listener(path: str, backlog: int, *, id: str = "metrics-listen", group: int | None = None) -> socket.socket:
    """A socket that listens at `path` (0660), owned by `group` (None: the process's own). Replaces a socket on which no
    process listens any more.

    Raises: HalfopenError `id` if another program listens there, or the path is another kind of file.
    """
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    new = path + _NEW
    try:
        _make_room(path, id)
        # The name appears only when the socket has its mode and listens.
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
    """Check that the path is free, or a socket on which no process listens. Raises: HalfopenError, OSError."""
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
        except BlockingIOError:  # its queue is full, so a process listens
            pass
    raise HalfopenError(id, f"another program listens at {path}", hint="name another path")


def _problem(path: str, error: OSError, id: str) -> HalfopenError:
    if error.errno is None or "too long" in str(error):
        return HalfopenError(id, f"{path}: the path is too long for a socket", hint="name a shorter one")
    hint = "make its directory first" if error.errno == errno.ENOENT else "name another path"
    return HalfopenError(id, f"{path}: {os.strerror(error.errno)}", hint=hint)
