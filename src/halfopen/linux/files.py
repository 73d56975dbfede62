"""Files for records, in directories that no other user can replace and in files that no other user can write to.

The audit log and the journal of `tune` are opened only here.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from typing import Final

_FLAGS: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_DIRECTORY: Final = 0o700
# The mode of parent directories that are created, whatever the umask: that of /var/lib.
_ON_THE_WAY: Final = 0o755
_FILE: Final = 0o600
_OTHERS_WRITE: Final = 0o022
_LINKS: Final = 40
_TRIES: Final = 100
_POLL_S: Final = 0.02


def is_root() -> bool:
    """Whether this process is root of a machine or a container, and not merely root in a user namespace, where /
    belongs to a user that is not mapped.
    """
    return os.geteuid() == 0 and os.stat("/").st_uid == 0


class Unsafe(Exception):
    """A file or directory that another user could have put there or could change. hint: what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def make_directory(path: str) -> None:
    """Create the directory (0700) and its parents (0755), whatever the umask. Raises: as `check_directory`."""
    _walk(path, make=True)


def make_directory_of(path: str, uid: int, gid: int) -> None:
    """As `make_directory`, for a directory that is to belong to another user: none of its parents may. It may belong to
    that user already. Raises: Unsafe, OSError.
    """
    path = os.path.abspath(path)
    _walk(os.path.dirname(path), make=True)
    _made(path, _DIRECTORY)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(fd)
        if found.st_uid not in (0, os.geteuid(), uid):
            raise Unsafe(f"{path} belongs to another user", f"chown -R {uid} {path}, once you have looked into it")
        if found.st_mode & _OTHERS_WRITE:
            raise Unsafe(f"{path} could be written by others", f"look into it, then: chmod go-w {path}")
        os.fchown(fd, uid, gid)
    finally:
        os.close(fd)


def check_directory(path: str, *, private: bool) -> None:
    """Check that no other user can replace this directory; private: nor put a file into it.

    Parent directories that belong to another user or are writable for everybody are refused, unless they are sticky
    (/tmp, or a container's tmpfs). Group-writable ones are accepted: /var/log is group-writable on some distributions.

    Raises: Unsafe, OSError.
    """
    facts = _walk(path, make=False)
    if not private:
        return
    if facts.st_uid not in (0, os.geteuid()):
        raise Unsafe(f"{path} belongs to another user", f"chown {_us()} {path}, once you have looked into it")
    if facts.st_mode & _OTHERS_WRITE and not facts.st_mode & stat.S_ISVTX:
        raise Unsafe(f"{path} could be written by others", f"look into it, then: chmod go-w {path}")


def _walk(path: str, *, make: bool) -> os.stat_result:
    """Follow a path component by component, links included, and check every directory on it."""
    here, names, links = "/", _names(path if path.startswith("/") else os.path.join(os.getcwd(), path)), 0
    facts = os.stat(here)
    # The owner of / controls everything. In a user namespace, / belongs to a user that is not mapped.
    trusted = {0, os.geteuid(), facts.st_uid}
    while names:
        name = names.pop()
        there = os.path.dirname(here) if name == ".." else os.path.join(here, name)
        try:
            found = os.lstat(there)
        except FileNotFoundError:
            if not make:
                raise
            found = _made(there, _ON_THE_WAY if names else _DIRECTORY)
        if stat.S_ISLNK(found.st_mode):
            links += 1
            if links > _LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), there)
            # In a directory that everybody may write to, any user could have created the link.
            if facts.st_mode & stat.S_IWOTH and found.st_uid not in trusted:
                raise Unsafe(f"{there} is a link of another user", "remove it")
            target = os.readlink(there)
            here, facts = ("/", os.stat("/")) if target.startswith("/") else (here, facts)
            names += _names(target)
            continue
        if not stat.S_ISDIR(found.st_mode):
            raise Unsafe(f"{there} is not a directory", "move it away")
        if found.st_uid not in trusted:
            raise Unsafe(f"{there} belongs to another user", f"chown {_us()} {there}, once you have looked into it")
        if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
            raise Unsafe(f"{there} could be written by others", f"look into it, then: chmod go-w {there}")
        here, facts = there, found
    return facts


def _names(path: str) -> list[str]:
    return [name for name in reversed(path.split("/")) if name not in ("", ".")]


def _made(path: str, mode: int) -> os.stat_result:
    try:
        os.mkdir(path, mode)
        # The umask may have removed permissions that we need ourselves.
        os.chmod(path, mode)
    except FileExistsError:
        pass
    return os.lstat(path)


def _us() -> str:
    return str(os.geteuid())


def open_to_append(path: str, *, twin: str = "", devices: bool = False) -> int:
    """A descriptor to read `path` and append to it; the file is created (0600) if missing. Never follows a link.

    Refuses anything but a regular file, and files that belong to another user than us or root, are writable for others,
    or have further hard links. twin: a second name that we gave it, which is allowed. devices: accept a character
    device (/dev/null). Raises: Unsafe, OSError.
    """
    for _ in range(_TRIES):
        try:
            fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | _FLAGS, _FILE)
        except FileExistsError:
            pass
        else:
            os.fchmod(fd, _FILE)
            return fd
        try:
            fd = os.open(path, os.O_RDWR | os.O_APPEND | _FLAGS)
        except FileNotFoundError:  # removed since
            continue
        return _checked(fd, path, twin, devices)
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), path)


def check_append(path: str, *, twin: str = "", private: bool = True, devices: bool = False) -> None:
    """Check whether `make_directory` and `open_to_append` would succeed, without creating anything. Raises: Unsafe,
    OSError.

    private: as for `check_directory`. twin, devices: as for `open_to_append`.
    """
    there = os.path.dirname(os.path.abspath(path))
    try:
        check_directory(there, private=private)
        os.close(_checked(os.open(path, os.O_RDWR | os.O_APPEND | _FLAGS), path, twin, devices))
    except FileNotFoundError:
        while not os.path.lexists(there):
            there = os.path.dirname(there)
        check_directory(there, private=False)
        # access(2) also fails on a read-only file system.
        if not os.access(there, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
            code = errno.EROFS if os.statvfs(there).f_flag & os.ST_RDONLY else errno.EACCES
            raise OSError(code, os.strerror(code), path) from None


def open_to_read(path: str, *, twin: str = "") -> int:
    """A descriptor to read `path`; twin and what is refused: see `open_to_append`. Raises: Unsafe, OSError."""
    return _checked(os.open(path, os.O_RDONLY | _FLAGS), path, twin, False)


def open_anew(path: str) -> int:
    """A descriptor of a new, empty file that replaces what is at `path`. Raises: OSError."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | _FLAGS, _FILE)
    os.fchmod(fd, _FILE)
    return fd


def _checked(fd: int, path: str, twin: str, devices: bool) -> int:
    try:
        _check_file(fd, path, twin, devices)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _check_file(fd: int, path: str, twin: str, devices: bool) -> None:
    facts = os.fstat(fd)
    if devices and stat.S_ISCHR(facts.st_mode):
        return
    if not stat.S_ISREG(facts.st_mode):
        raise Unsafe("it is not a regular file", "move it away")
    if facts.st_uid not in (0, os.geteuid()):
        raise Unsafe("it belongs to another user, and could be written by others", "look at it, then move it away")
    if facts.st_mode & _OTHERS_WRITE:
        raise Unsafe("it could be written by others", f"look at it, then: chmod go-w {path}")
    if facts.st_nlink > 1 and not _is(twin, facts):
        raise Unsafe("it has a second name (a hard link)", f"find / -xdev -samefile {path} names both: remove one")


def _is(path: str, facts: os.stat_result) -> bool:
    try:
        return bool(path) and facts.st_nlink == 2 and os.path.samestat(os.lstat(path), facts)
    except OSError:
        return False


def lock(fd: int, wait_s: float) -> bool:
    """Lock the file against other halfopen processes, waiting at most `wait_s`. False: one still holds the lock.

    Raises: OSError.
    """
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        else:
            return True


def append(fd: int, data: bytes | memoryview, *, alone: bool = True, durable: bool = True) -> None:
    """Append `data` and push it to the disk, all of it or nothing. Raises: OSError.

    alone: the caller holds the lock, so a partial write can be undone; otherwise it is left. durable: sync to the disk,
    so that the data survives a crash of the kernel.
    """
    end, written = os.fstat(fd).st_size, 0
    try:
        # One write() does it, except on a full disk: then the second one fails and gives the reason.
        while written < len(data):
            written += os.write(fd, data[written:])
        if durable and stat.S_ISREG(os.fstat(fd).st_mode):
            os.fsync(fd)
    except BaseException:
        if alone and os.fstat(fd).st_size == end + written:
            try:
                os.ftruncate(fd, end)
            except OSError:  # an append-only file (chattr +a) cannot be truncated
                pass
        raise


def ends_in_a_line(fd: int) -> bool:
    """Whether a file is empty or ends with a newline: after a crash or on a full disk, its last line may be
    incomplete.
    """
    facts = os.fstat(fd)
    return not (stat.S_ISREG(facts.st_mode) and facts.st_size) or os.pread(fd, 1, facts.st_size - 1) == b"\n"


def what_and_remedy(e: OSError | Unsafe, path: str, elsewhere: str = "") -> tuple[str, str]:
    """What is wrong with `path`, and what to do. elsewhere: how to choose another place, if that would help."""
    if isinstance(e, Unsafe):
        return e.message, _either(e.hint, elsewhere)
    what = e.strerror or str(e)
    if e.errno == errno.ELOOP:
        what = "it is a symbolic link, or behind a loop of them"
    remedy = _REMEDIES.get(e.errno or 0, "")
    if e.errno == errno.EPERM:
        remedy = f"see whether it is immutable (lsattr {path})"
    if e.errno == errno.EACCES:
        remedy = (
            "run as root (sudo) or as its owner" if os.geteuid() else "a security module may forbid it: journalctl -k"
        )
    return what, _either(remedy, elsewhere)


_REMEDIES: Final = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
    errno.EFBIG: "raise the limit (ulimit -f)",
    errno.EMFILE: "raise the limit (ulimit -n)",
    errno.ENFILE: "raise the limit (sysctl fs.file-max)",
    errno.ELOOP: "remove it",
    errno.EROFS: "mount it writable",
    errno.EIO: "see what is wrong with the disk (dmesg)",
}


def _either(remedy: str, elsewhere: str) -> str:
    return f"{remedy}, or {elsewhere}" if remedy and elsewhere else remedy or elsewhere
