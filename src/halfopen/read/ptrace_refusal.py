"""Why a process cannot be reached into (pidfd_getfd, PTRACE_MODE_ATTACH): one line that names what refuses.

The order is that of the kernel's own checks: `__ptrace_may_access()` (kernel/ptrace.c), then Yama and the other
security modules.
"""

from __future__ import annotations

import errno
import os
from typing import Final

from halfopen.core.errors import HalfopenError, KernelError, NotPermitted, Unsupported
from halfopen.linux import proc
from halfopen.read.owners import process

_SECCOMP_FILTER: Final = "2"


def refusal(pid: int, code: int) -> HalfopenError:
    """The error for `code`, the errno with which duplicating a descriptor of process `pid` failed."""
    found = process(pid)
    who = f"{found.name} (pid {pid})" if found else f"pid {pid}"
    if code == errno.ENOSYS:
        return _missing()
    if code not in (errno.EPERM, errno.EACCES):
        return KernelError("pidfd_getfd", code, who)
    scope = proc.yama_scope()
    if scope == "3":
        return NotPermitted(
            f"Yama (kernel.yama.ptrace_scope = 3) forbids access to the open files of {who}, even for root",
            hint="boot without that setting",
        )
    if proc.lacking(("CAP_SYS_PTRACE",)):
        return _unprivileged(pid, who, scope)
    if _user_namespace(pid) != _user_namespace("self"):
        return NotPermitted(
            f"{who} runs in another user namespace, over which this process has no privileges",
            hint="run it on the host, or inside the container of that process",
        )
    if proc.status().get("Seccomp") == _SECCOMP_FILTER:
        return NotPermitted(
            "a seccomp filter forbids pidfd_getfd here", hint="run it on the host, or allow pidfd_getfd in the profile"
        )
    return NotPermitted(
        f"a security module (AppArmor, SELinux) denies access to the open files of {who}",
        hint="see which one with journalctl -k",
    )


def _missing() -> Unsupported:
    if proc.status().get("Seccomp") == _SECCOMP_FILTER:
        return Unsupported(
            "pidfd_getfd",
            "a seccomp filter hides pidfd_getfd, or this kernel has none (Linux 5.6)",
            hint="run it on the host, or allow pidfd_getfd in the profile",
        )
    return Unsupported(
        "pidfd_getfd",
        "this kernel has no pidfd_getfd (Linux 5.6)",
        hint="set the value in the program and restart it",
    )


def _unprivileged(pid: int, who: str, scope: str) -> NotPermitted:
    if os.geteuid() == 0:
        return NotPermitted(
            f"access to the open files of {who} needs CAP_SYS_PTRACE, which root lacks here",
            hint="run it on the host, or start the container with --cap-add SYS_PTRACE",
        )
    if scope in ("1", "2") and _owner(pid) == os.geteuid():
        return NotPermitted(
            f"Yama (kernel.yama.ptrace_scope = {scope}) allows access to the open files of {who} only for root",
            hint="run as root (sudo)",
        )
    return NotPermitted(f"access to the open files of {who} needs CAP_SYS_PTRACE", hint="run as root (sudo)")


def _owner(pid: int) -> int:
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return -1


def _user_namespace(pid: int | str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/user")
    except OSError:
        return ""
