"""Our file of sysctl.d: entries are added, changed or removed. No other file is touched."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import Final

from halfopen.core.errors import HalfopenError, NotPermitted, SysctlDError, Unsupported
from halfopen.core.tune import sysctl_d
from halfopen.core.tune.checkpoint import Checkpoint, go_on
from halfopen.linux import files
from halfopen.linux.replacing import replace

DIRECTORY = sysctl_d.DIRECTORIES[0]
# Not named *.conf, so nothing reads it at boot.
_NEW: Final = f"{sysctl_d.NAME}.new"
_MODE: Final = 0o644
_FLAGS: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def path() -> str:
    """The path of the file, which may not exist."""
    return f"{DIRECTORY}/{sysctl_d.NAME}"


def read(key: str) -> int | None:
    """The entry of the key; None if there is none.

    Raises: SysctlDError if the file is not as we write it, NotPermitted, Unsupported (no such directory).
    """
    return entries().get(key)


def entries() -> dict[str, int]:
    """All entries. Raises: as `read`."""
    directory = _open_directory()
    try:
        return _entries(_content(directory))
    finally:
        os.close(directory)


def check() -> None:
    """Check whether the file can be read and written, without writing. Raises: as `read` and `write`."""
    entries()
    if not os.access(DIRECTORY, os.W_OK | os.X_OK, effective_ids=True):
        read_only = os.statvfs(DIRECTORY).f_flag & os.ST_RDONLY
        code = errno.EROFS if read_only else errno.EACCES
        raise _problem(OSError(code, os.strerror(code)))


def write(key: str, value: int | None, checkpoint: Checkpoint = go_on) -> int | None:
    """Set the entry of the key, or remove it (None), and the file with its last entry. Returns the entry read back.

    The file is replaced atomically and synced before this returns. checkpoint: called at "file.new" (the new file is
    written) and "file.replaced".

    Raises: as `read`, and SysctlDError if it cannot be written; the file is then unchanged.
    """
    directory = _open_directory()
    try:
        before = _content(directory)
        try:
            after = sysctl_d.edited(before, key, value)
        except SysctlDError as e:
            raise _ours(e) from None
        if after != before:
            try:
                _replace(directory, after, checkpoint)
            except OSError as e:
                raise _problem(e) from None
        return _entries(after).get(key)
    finally:
        os.close(directory)


def clean() -> None:
    """Remove the temporary file that a killed write may have left. Raises: as `write`."""
    with suppress(Unsupported):
        directory = _open_directory()
        try:
            if _exists(_NEW, directory):
                os.unlink(_NEW, dir_fd=directory)
                os.fsync(directory)
        except OSError as e:
            raise _problem(e) from None
        finally:
            os.close(directory)


def _open_directory() -> int:
    try:
        fd = os.open(DIRECTORY, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise Unsupported("sysctl.d", f"there is no directory {DIRECTORY}: nothing would be read at boot") from None
    except OSError as e:
        raise _problem(e) from None
    facts = os.fstat(fd)
    if facts.st_uid not in (0, os.geteuid()) or facts.st_mode & 0o022:
        os.close(fd)
        raise SysctlDError(f"{DIRECTORY} could be written by others", hint=f"look at it, then: chmod go-w {DIRECTORY}")
    return fd


def _content(directory: int) -> bytes | None:
    """The bytes of the file; None if it does not exist."""
    try:
        fd = os.open(sysctl_d.NAME, os.O_RDONLY | _FLAGS, dir_fd=directory)
    except FileNotFoundError:
        return None
    except OSError as e:
        if e.errno == errno.ELOOP:
            raise SysctlDError(f"{path()} is a symbolic link", hint="remove it") from None
        raise _problem(e) from None
    try:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode) or facts.st_nlink != 1:
            raise SysctlDError(f"{path()} is not a regular file of its own", hint="move it away")
        data = b""
        while piece := os.read(fd, sysctl_d.MAX_BYTES + 1 - len(data)):
            data += piece
        if len(data) > sysctl_d.MAX_BYTES:
            raise SysctlDError(f"{path()} is too large", hint="move it away")
        return data
    except OSError as e:
        raise _problem(e) from None
    finally:
        os.close(fd)


def _entries(data: bytes | None) -> dict[str, int]:
    try:
        return sysctl_d.entries(data)
    except SysctlDError as e:
        raise _ours(e) from None


def _ours(e: SysctlDError) -> SysctlDError:
    return SysctlDError(f"{path()} was changed by somebody else: {e.message}", hint="repair it, or move the file away")


def _replace(directory: int, data: bytes | None, checkpoint: Checkpoint) -> None:
    if data is None:
        os.unlink(sysctl_d.NAME, dir_fd=directory)
    else:
        replace(
            directory,
            sysctl_d.NAME,
            data,
            new=_NEW,
            mode=_MODE,
            durable=True,
            written=lambda: checkpoint("file.new"),
        )
    checkpoint("file.replaced")
    os.fsync(directory)


def _exists(name: str, directory: int) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _problem(e: OSError) -> HalfopenError:
    if e.errno == errno.EROFS:
        return NotPermitted(f"{DIRECTORY} is mounted read-only here", hint="run it on the host")
    what, remedy = files.what_and_remedy(e, path())
    if isinstance(e, PermissionError):
        return NotPermitted(f"{path()} cannot be used: {what}", hint=remedy)
    return SysctlDError(f"{path()} cannot be used: {what}", hint=remedy)
