"""Labs without root: becoming root of a new user namespace, where the machine allows it."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import warnings
from collections.abc import Callable
from typing import Any, Final

from halfopen.core.errors import EXIT_FAILED, HalfopenError, LabError, Unsupported
from halfopen.lab.child import die_with
from halfopen.linux.netns import CLONE_NEWNET, unshare
from halfopen.linux.userns import CLONE_NEWUSER, may_enter_namespaces

# Settings that may forbid it: name, the value that forbids, the value that allows.
_FORBIDS: Final = (
    ("kernel.unprivileged_userns_clone", "0", "1"),  # Debian, Arch hardened
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),  # Ubuntu 23.10 on
    ("user.max_user_namespaces", "0", "1000"),  # RHEL 7, hardened hosts
)


def may_make_namespaces() -> bool:
    """Whether this process may make network namespaces as it is (it has CAP_SYS_ADMIN)."""
    return may_enter_namespaces()


def enter_user_namespace() -> None:
    """Make this process root of a new user namespace, unless it may make network namespaces already.

    The process keeps its PID, its open files, and outside the rights of its user; there is no way back. It must have
    one thread only: call this first, before numpy is imported. A child tries it before, so that a refusal changes
    nothing.

    Raises: Unsupported, naming the setting that forbids it; LabError when there are threads already.
    """
    if may_make_namespaces():
        return
    if len(os.listdir("/proc/self/task")) > 1:
        raise LabError(
            "a user namespace can be entered by a process with one thread only",
            hint="call halfopen.lab.enter_user_namespace() first of all, with OPENBLAS_NUM_THREADS=1, or run as root",
        )
    code = _trial()
    if code:
        raise Unsupported("user namespaces", _refusal(code), hint=_remedy())
    _become_root()


def user_namespace_refusal() -> str | None:
    """Why this process cannot make a lab, as one line; None when it can, as it is or through a user namespace."""
    if may_make_namespaces():
        return None
    code = _trial()
    return f"{_refusal(code)}; {_remedy()}" if code else None


def apart(work: Callable[[], Any]) -> Callable[[], Any]:
    """Start `work` where labs can be made. Call the returned function to wait for its result.

    If this process may create network namespaces, `work` runs in it, when its result is asked for; otherwise in a child
    that becomes root of a user namespace, so that this process keeps its rights. The result must be JSON. Call this
    while the process has only one thread.

    Raises (when it is waited for): as `enter_user_namespace` and `work`.
    """
    if may_make_namespaces():
        return work
    parent = os.getpid()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(reader)
            die_with(parent)
            _write_all(writer, json.dumps(_outcome(work, parent)).encode())
            code = 0
        finally:
            # Exit without flushing: output that the parent has buffered would be written twice.
            os._exit(code)
    os.close(writer)
    return lambda: _result(reader, pid)


def _outcome(work: Callable[[], Any], parent: int) -> dict[str, Any]:
    try:
        enter_user_namespace()
        # Again, as a change of credentials clears the signal (commit_creds()).
        die_with(parent)
        return {"result": work()}
    except HalfopenError as e:
        return {"error": [e.id, e.message, e.exit_code, e.hint]}
    except OSError as e:
        return {"error": ["lab", f"{e.filename or 'the lab'}: {e.strerror}", EXIT_FAILED, ""]}


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _result(reader: int, pid: int) -> Any:
    try:
        with open(reader, "rb") as f:
            data = f.read()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
    if not data:
        raise LabError("the private namespace ended before its work was done")
    found = json.loads(data)
    if "error" in found:
        id, message, exit_code, hint = found["error"]
        raise HalfopenError(id, message, exit_code=exit_code, hint=hint)
    return found["result"]


def _become_root() -> None:
    uid, gid = os.geteuid(), os.getegid()
    unshare(CLONE_NEWUSER)
    # An unprivileged process may map its group only after denying setgroups(2) (user_namespaces(7)).
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"0 {uid} 1")
    _write("/proc/self/gid_map", f"0 {gid} 1")


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as f:
        f.write(text)


def _trial() -> int:
    """Try it in a child that ends at once. Returns the errno of the refusal, or 0."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads: the child only makes system calls
        pid = os.fork()
    if pid == 0:
        code = errno.EPERM
        try:
            _become_root()
            unshare(CLONE_NEWNET)
            code = 0
        except OSError as e:
            code = e.errno or errno.EPERM
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else errno.EPERM if -code == signal.SIGSYS else errno.EINTR


def _refusal(code: int) -> str:
    return f"this machine gives an unprivileged user no network namespace ({os.strerror(code)})"


def _remedy() -> str:
    for key, forbidding, allowing in _FORBIDS:
        try:
            with open(f"/proc/sys/{key.replace('.', '/')}", encoding="ascii") as f:
                if f.read().strip() == forbidding:
                    return f"run as root, or allow it: sysctl {key}={allowing}"
        except OSError:
            continue
    return "run as root (a container's seccomp filter or user.max_user_namespaces may forbid it)"
