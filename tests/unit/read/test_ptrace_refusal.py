"""Why a process cannot be reached into: each refusal is named, with what to do."""

from __future__ import annotations

import errno
import os

import pytest

from halfopen.core.errors import HalfopenError
from halfopen.linux import proc
from halfopen.read import ptrace_refusal

ALL = "CapEff:\t000001ffffffffff\nSeccomp:\t0\n"
NONE = "CapEff:\t0000000000000000\nSeccomp:\t0\n"
FILTERED = "CapEff:\t000001ffffffffff\nSeccomp:\t2\n"


def refusal(
    patch: pytest.MonkeyPatch,
    *,
    code: int = errno.EPERM,
    scope: str = "0",
    status: str = ALL,
    uid: int = 0,
    owner: int = 0,
    other_namespace: bool = False,
) -> HalfopenError:
    """The error for this process, on a machine made up so."""
    files = {"/proc/sys/kernel/yama/ptrace_scope": f"{scope}\n", "/proc/thread-self/status": status}
    patch.setattr(proc, "text", lambda path: files[path].strip())
    patch.setattr(ptrace_refusal.os, "geteuid", lambda: uid)
    patch.setattr(ptrace_refusal, "_owner", lambda pid: owner)
    patch.setattr(ptrace_refusal, "_user_namespace", lambda pid: str(pid) if other_namespace else "user:[1]")
    return ptrace_refusal.refusal(os.getpid(), code)


@pytest.mark.parametrize(
    ("machine", "says", "hint"),
    [
        ({"status": NONE, "uid": 1000}, "needs CAP_SYS_PTRACE", "run as root"),
        ({"status": NONE, "uid": 1000, "owner": 1000, "scope": "1"}, "ptrace_scope = 1) allows", "run as root"),
        ({"status": NONE, "uid": 1000, "owner": 1000, "scope": "2"}, "ptrace_scope = 2) allows", "run as root"),
        ({"status": NONE, "uid": 1000, "owner": 2000, "scope": "1"}, "needs CAP_SYS_PTRACE", "run as root"),
        ({"status": NONE}, "which root lacks here", "--cap-add SYS_PTRACE"),
        ({"scope": "3"}, "ptrace_scope = 3) forbids", "boot without"),
        ({"other_namespace": True}, "runs in another user namespace", "run it on the host"),
        ({"status": FILTERED}, "a seccomp filter forbids pidfd_getfd", "run it on the host"),
        ({"code": errno.EACCES}, "a security module", "journalctl"),
        ({"code": errno.ENOSYS}, "this kernel has no pidfd_getfd (Linux 5.6)", "restart"),
        ({"code": errno.ENOSYS, "status": FILTERED}, "a seccomp filter hides pidfd_getfd", "run it on the host"),
        ({"code": errno.EMFILE}, "pidfd_getfd failed: EMFILE", ""),
    ],
)
def test_what_refuses_is_named(
    monkeypatch: pytest.MonkeyPatch, machine: dict[str, object], says: str, hint: str
) -> None:
    error = refusal(monkeypatch, **machine)  # type: ignore[arg-type]
    assert says in error.message
    assert hint in error.hint
    assert "\n" not in error.line()


def test_a_machine_without_yama_and_a_process_that_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proc, "yama_scope", lambda: "")
    assert "pid 4194304" in ptrace_refusal.refusal(2**22, errno.EPERM).message or os.geteuid() == 0
    assert ptrace_refusal._owner(2**22) == -1
    assert ptrace_refusal._user_namespace(2**22) == ""
