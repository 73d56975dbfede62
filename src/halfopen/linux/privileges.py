"""Giving up capabilities and the user for good, with all ways to get them back."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Sequence
from typing import Final

from halfopen.core.errors import KernelError
from halfopen.linux import small_files
from halfopen.linux.libc import LIBC

_SET_PDEATHSIG: Final = 1
_CAPBSET_READ: Final = 23
_CAPBSET_DROP: Final = 24
_SET_NO_NEW_PRIVS: Final = 38
_CAP_AMBIENT: Final = 47
_CAP_AMBIENT_CLEAR_ALL: Final = 4
_CAPABILITY_VERSION_3: Final = 0x20080522
_LAST: Final = 63
GROUP: Final = "halfopen"


def give_up_all(user: tuple[int, int] | None = None) -> None:
    """Become `user` (uid, gid), if given, and give up every capability for good.

    Afterwards, neither set-user-ID programs nor files with capabilities give this process or its children any.
    Source: capabilities(7), "Effect of user ID changes"; Documentation/userspace-api/no_new_privs.rst.

    Raises: KernelError; the process then still has some of its privileges, and must not go on.
    """
    if user is not None:
        _drop_bounding_set()
        try:
            os.setgroups([])
            os.setresgid(user[1], user[1], user[1])
            os.setresuid(user[0], user[0], user[0])
        except OSError as e:
            raise KernelError("becoming another user", e.errno or 0) from None
    _prctl("PR_SET_NO_NEW_PRIVS", _SET_NO_NEW_PRIVS, 1)
    _prctl("PR_CAP_AMBIENT_CLEAR_ALL", _CAP_AMBIENT, _CAP_AMBIENT_CLEAR_ALL)
    head = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted and inheritable, in two halves
    if LIBC.capset(ctypes.byref(head), ctypes.byref(sets)) != 0:
        raise KernelError("capset", ctypes.get_errno())


def end_with(parent: int) -> None:
    """Have the kernel kill this process when the thread of `parent` that started it ends; exit if `parent` is gone.

    Call it after `give_up_all`: a change of credentials clears the signal (commit_creds(), kernel/cred.c).
    """
    _prctl("PR_SET_PDEATHSIG", _SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:
        os._exit(1)


def capabilities(pid: int | str = "self") -> dict[str, int]:
    """The capability sets of a process by their names in /proc/PID/status (CapInh, CapPrm, CapEff, CapBnd, CapAmb)."""
    lines = small_files.text(f"/proc/{pid}/status").splitlines()
    return {name: int(value, 16) for name, _, value in (line.partition(":") for line in lines) if name[:3] == "Cap"}


def user_of(names: Sequence[str]) -> tuple[int, int]:
    """The uid and gid of the first of these users that exists; 65534, the kernel's overflow uid, if none does."""
    import pwd

    for name in names:
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        return found.pw_uid, found.pw_gid
    return 65534, 65534


def members() -> int | None:
    """The gid of the group whose members may query the service and read history; None if there is no such group."""
    import grp

    try:
        return grp.getgrnam(GROUP).gr_gid
    except KeyError:
        return None


def _drop_bounding_set() -> None:
    for capability in range(_LAST + 1):
        if LIBC.prctl(_CAPBSET_READ, capability, 0, 0, 0) == 1:
            LIBC.prctl(_CAPBSET_DROP, capability, 0, 0, 0)  # fails without CAP_SETPCAP; no_new_privs is enough then


def _prctl(name: str, option: int, value: int) -> None:
    if LIBC.prctl(option, value, 0, 0, 0) != 0:
        raise KernelError(f"prctl({name})", ctypes.get_errno())
