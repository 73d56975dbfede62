"""Writing a setting of the calling thread's network namespace, and reading back what the kernel accepted."""

from __future__ import annotations

import errno
import os
from typing import Final

from halfopen.core.errors import HalfopenError, KernelError, NotPermitted, Refused, Unsupported, privilege
from halfopen.linux import small_files

_ROOT: Final = "/proc/sys"


def path_of(key: str) -> str:
    """The file of a setting with dots in its name, as net.core.somaxconn."""
    return f"{_ROOT}/{key.replace('.', '/')}"


def read(key: str) -> int | None:
    """The value of the setting; None if this kernel or namespace does not have it.

    Raises: NotPermitted, KernelError.
    """
    try:
        return int(small_files.must_read(path_of(key), 64))
    except FileNotFoundError:
        return None
    except OSError as e:
        raise _problem("reading", key, e) from None
    except ValueError:
        raise KernelError(f"reading {key}", errno.EINVAL, "not a number") from None


def check(key: str) -> None:
    """Check whether the setting can be written, by opening its file as `write` does, without writing.

    Raises: Unsupported, NotPermitted, KernelError, as `write`.
    """
    try:
        os.close(os.open(path_of(key), os.O_WRONLY | os.O_CLOEXEC))
    except OSError as e:
        raise _problem("writing", key, e) from None


def write(key: str, value: int) -> int:
    """Write the setting and return its value read back, which differs from `value` if the kernel clamped it.

    Raises: Refused if the kernel does not accept the value, Unsupported if there is no such setting, NotPermitted
    (also where /proc/sys is mounted read-only), KernelError. Nothing has changed then.
    """
    try:
        fd = os.open(path_of(key), os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, b"%d\n" % value)
        finally:
            os.close(fd)
    except OSError as e:
        if e.errno in (errno.EINVAL, errno.ERANGE, errno.EOVERFLOW):
            raise Refused(f"the kernel refuses {key} = {value}: {os.strerror(e.errno)}") from None
        raise _problem("writing", key, e) from None
    held = read(key)
    if held is None:
        raise KernelError(f"reading {key} back", errno.ENOENT)
    return held


def _problem(doing: str, key: str, e: OSError) -> HalfopenError:
    if e.errno == errno.ENOENT:
        return Unsupported(key, f"there is no {key} in this namespace", hint="halfopen tune show lists what there is")
    if e.errno == errno.EROFS:
        return NotPermitted(
            f"{doing} {key} is refused: /proc/sys is mounted read-only here",
            hint="run it on the host with --netns pid:N, or in a privileged container",
        )
    if e.errno in (errno.EACCES, errno.EPERM):
        hint = "run as root (sudo)" if os.geteuid() else privilege(0, "CAP_NET_ADMIN")
        return NotPermitted(f"{doing} {key} is refused", hint=hint)
    return KernelError(f"{doing} {key}", e.errno or 0)
