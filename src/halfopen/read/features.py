"""Feature probes: each feature is tried, not guessed from a version or a privilege, and the trial is undone at once."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

from halfopen.core.errors import HalfopenError, NotPermitted, Unsupported
from halfopen.core.features import Feature, Grant, Outcome
from halfopen.core.units import plural
from halfopen.linux import kernel_release, netns, proc, small_files
from halfopen.linux.bpf.bpf_object import REFUSE, refused_by_name
from halfopen.linux.sockets import has_net_admin, open_sock_diag
from halfopen.read import discover, sockdiag
from halfopen.read.listener_options import duplicate

_NO_DESCRIPTOR: Final = 2**31 - 1
_PF_KTHREAD: Final = 0x200000
# The grant if it is not known which kernel has the feature.
NEWER_KERNEL: Final = Grant("kernel", "a newer kernel, or one built with it")


def tried(id: str, purpose: str, work: Callable[[], str], needs: tuple[str, ...] = ()) -> Feature:
    """Try a feature by calling `work`: what it raises is the reason that the feature is missing; what it returns is
    shown.
    """
    grants: tuple[Grant, ...] = ()
    outcome = Outcome.NO
    try:
        outcome, why = Outcome.YES, work()
    except NotPermitted as e:
        why, grants = e.message, _privileges(needs)
    except Unsupported as e:
        why, grants = e.message, (_support(e),)
    except HalfopenError as e:
        outcome, why = Outcome.UNKNOWN, e.message
    except OSError as e:
        outcome, why = Outcome.UNKNOWN, f"{e.filename or 'asking'}: {e.strerror}"
    return Feature(id, purpose, outcome, why, needs, grants)


def _privileges(needs: tuple[str, ...]) -> tuple[Grant, ...]:
    missing = tuple(Grant("capability", name) for name in proc.lacking(needs))
    if proc.in_user_namespace():
        return (*missing, Grant("host", "running outside of this user namespace"))
    return missing or (Grant("host", "a security module, kernel lockdown or seccomp filter that allows it"),)


def _support(e: Unsupported) -> Grant:
    """The grant for a feature that this machine lacks."""
    kind, _, name = e.feature.partition(":")
    off = switched_off(name) if kind == "bpf" else None
    if off:
        return off
    if kind == "tcx" or name == "guard":
        return Grant("kernel", "Linux 6.9 with CONFIG_SYN_COOKIES")
    if kind == "nf_tables" and kernel_release.running() < (5, 12):
        return Grant("kernel", "Linux 5.12")
    if kind == "bpf" and e.hint:
        return Grant("package", "halfopen", "pip install --force-reinstall halfopen")
    if kind == "libbpf":
        return _package("libbpf1", "libbpf", "libbpf 1.0 or newer")
    if kind == "bpf_jit":
        return Grant("setting", "net.core.bpf_jit_enable = 1", "sysctl -w net.core.bpf_jit_enable=1")
    if kind in ("sock_diag", "tcp_diag"):
        return Grant("setting", "the kernel module tcp_diag", "modprobe tcp_diag")
    known = {
        "btf": ("kernel", "a kernel with CONFIG_DEBUG_INFO_BTF"),
        "byteorder": ("host", "a little-endian machine"),
        "SOCK_DESTROY": ("kernel", "a kernel with CONFIG_INET_DIAG_DESTROY"),
        "pidfd_getfd": ("kernel", "Linux 5.6"),
        "cgroup2": ("host", "running where the root of the cgroup2 tree is mounted, as on the host itself"),
    }
    return Grant(*known[kind]) if kind in known else NEWER_KERNEL


def switched_off(name: str) -> Grant | None:
    """The grant for an eBPF program that the user refused by name; None if the user did not."""
    return Grant("setting", f"not naming it in {REFUSE}", f"unset {REFUSE}") if refused_by_name(name) else None


def _package(debian: str, fedora: str, what: str) -> Grant:
    if shutil.which("apt-get"):
        return Grant("package", debian, f"apt-get install {debian}")
    if shutil.which("dnf"):
        return Grant("package", fedora, f"dnf install {fedora}")
    return Grant("package", what)


def reading() -> tuple[Feature, ...]:
    """The ways to read connections, and the privilege that changing them takes."""
    return (
        tried("sock_diag", "reading connections and listeners", _sock_diag),
        tried("proc_net_tcp", "reading them where sock_diag is refused", _proc_net_tcp),
        tried("net_admin", "changing this network namespace", _net_admin, ("CAP_NET_ADMIN",)),
    )


def _sock_diag() -> str:
    with open_sock_diag() as s:
        found, _ = sockdiag.listeners(s)
    return plural(len(found), "listener")


def _proc_net_tcp() -> str:
    try:
        small_files.must_read("/proc/thread-self/net/tcp", 1)
    except FileNotFoundError:
        raise Unsupported("procfs", "there is no /proc/net/tcp") from None
    except PermissionError:
        raise NotPermitted("opening /proc/net/tcp is refused") from None
    return ""


def _net_admin() -> str:
    if not has_net_admin():
        raise NotPermitted("it needs CAP_NET_ADMIN over it")
    return ""


def others() -> tuple[Feature, ...]:
    """Features that reach beyond this process and its namespace."""
    hidden = discover.discover().refused
    seen = f"those of {plural(hidden, 'process', 'processes')} hidden" if hidden else ""

    def enter() -> str:
        netns.try_to_enter()
        return seen

    return (
        tried("namespaces", "reading other network namespaces (--netns)", enter, ("CAP_SYS_ADMIN",)),
        tried("owners", "naming the programs that listen", _owners, ("CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH")),
        _pidfd_getfd(),
    )


def _programs() -> Iterator[int]:
    """The processes of other users, without kernel threads; if there are none, the other processes of this user."""
    mine: list[int] = []
    others = 0
    for pid in proc.pids():
        try:
            user = os.stat(f"/proc/{pid}").st_uid
            flags = int(proc.stat_fields(pid)[6])
        except (OSError, IndexError):  # it ended meanwhile
            continue
        if flags & _PF_KTHREAD or pid == os.getpid():
            continue
        if user != os.geteuid():
            others += 1
            yield pid
        else:
            mine.append(pid)
    if not others:
        yield from mine


def _reach(ask: Callable[[int], object], refused: str) -> str:
    """Call `ask` for every program. Returns "" if all succeed, otherwise how many were refused. Raises: NotPermitted if
    all were.
    """
    asked = hidden = 0
    for pid in _programs():
        try:
            ask(pid)
        except OSError as e:
            if e.errno == errno.ENOSYS:
                raise Unsupported("pidfd_getfd", "this kernel has no pidfd_getfd") from None
            if e.errno in (errno.ESRCH, errno.ENOENT):
                continue
            hidden += e.errno in (errno.EPERM, errno.EACCES)
        asked += 1
    if hidden and hidden == asked:
        raise NotPermitted(refused)
    return f"{plural(hidden, 'process', 'processes')} of {asked} refused" if hidden else ""


def _owners() -> str:
    def look(pid: int) -> None:
        with os.scandir(f"/proc/{pid}/fd") as descriptors:
            for descriptor in islice(descriptors, 1):
                os.readlink(descriptor.path)

    return _reach(look, "the open files of other users' programs are hidden")


def _pidfd_getfd() -> Feature:
    id, purpose = "pidfd_getfd", "reading what programs set on listeners (TCP_SYNCNT), and tune listener"
    # The kernel checks the privilege before the descriptor (pidfd_getfd()), so an invalid one tests it harmlessly.
    refused = "other users' programs are out of reach"
    made = tried(id, purpose, lambda: _reach(lambda pid: duplicate(pid, _NO_DESCRIPTOR), refused), ("CAP_SYS_PTRACE",))
    if made.outcome is Outcome.NO and proc.yama_scope() == "3":
        why = "kernel.yama.ptrace_scope = 3 forbids it, even for root"
        grant = Grant("setting", "a boot without kernel.yama.ptrace_scope=3")
        return Feature(id, purpose, made.outcome, why, made.needs, (grant,))
    return made
