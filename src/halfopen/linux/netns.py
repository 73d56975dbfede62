"""Network namespaces: names, look-up, and running a function inside one.

A namespace that halfopen makes is held by an open descriptor, not by a name, so it ends with the process. The main
thread never changes its own namespace: work inside another one is done by a short-lived thread.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shlex
from collections.abc import Callable
from typing import Final, TypeVar

from msgspec import Struct

from halfopen.core.errors import KernelError, NotPermitted, UnknownTarget, UsageError, privilege
from halfopen.core.units import printable
from halfopen.linux import well_known
from halfopen.linux.libc import LIBC
from halfopen.linux.threads import in_thread

T = TypeVar("T")

CLONE_NEWNET: Final = 0x40000000
SELF: Final = well_known.OWN_NETNS
NAMED_DIRS: Final = ("/run/netns", "/run/docker/netns")


class Netns(Struct, frozen=True):
    """One network namespace: its name as --netns takes it, its inode (the kernel's identity for it), a path that opens
    it, and a process that lives in it, with its unit or container, if known.
    """

    name: str
    inode: int
    path: str
    lives_in: str = ""

    def open(self) -> int:
        """Open the namespace and return the descriptor.

        Raises: UnknownTarget if it has vanished, NotPermitted if opening it is refused.
        """
        return _open(self.path, self.name)

    def run(self, work: Callable[[], T], cancel: Callable[[], None] | None = None) -> T:
        """Open the namespace and call `run_in`. Raises: as `open` and `run_in`."""
        fd = self.open()
        try:
            return run_in(fd, work, cancel)
        finally:
            os.close(fd)


def _open(path: str, name: str) -> int:
    try:
        # Non-blocking, as the path may be a pipe without a writer.
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except PermissionError:
        raise NotPermitted(f"network namespace {name}: opening {path} is refused", hint=_opening()) from None
    except OSError as e:
        raise UnknownTarget(
            f"network namespace {name}: {path}: {os.strerror(e.errno or 0)}",
            hint=_near(name) or "halfopen status --netns all shows those that exist",
        ) from None


def is_gone(ns: Netns) -> bool:
    """Whether the namespace is no longer where it was found."""
    if ns.path == SELF:
        return False  # the main thread never leaves its own
    try:
        return os.stat(ns.path).st_ino != ns.inode
    except OSError:
        return True


def _opening() -> str:
    if os.geteuid() != 0:
        return "run as root (sudo), or as the owner of its processes"
    return privilege(0, "CAP_SYS_PTRACE")


def current() -> Netns:
    """The namespace of this process."""
    return Netns("self", os.stat(SELF).st_ino, SELF)


def entered(environment: str | None = None) -> Netns | None:
    """This process's namespace by its name, if the parent process is in another one (`ip netns exec NAME …`): commands
    that are printed for the user need `--netns NAME` then. None if both are in the same one, if that cannot be
    determined, or if the namespace has no name.

    environment: a path that may lead to the namespace, as set by `lab`.
    """
    try:
        own = os.stat(SELF).st_ino
        if os.stat(f"/proc/{os.getppid()}/ns/net").st_ino == own:
            return None
        for name, path in [(environment, environment)] if environment else []:
            if os.stat(path).st_ino == own:
                return Netns(name, own, SELF)
    except OSError:
        return None
    for directory in NAMED_DIRS:
        for name in names():
            try:
                if os.stat(f"{directory}/{name}").st_ino == own:
                    return Netns(name, own, SELF)
            except OSError:
                continue
    return None


def _setns(fd: int) -> None:
    # os.setns needs Python 3.12; with 3.11 the C library is called.
    if hasattr(os, "setns"):
        os.setns(fd, CLONE_NEWNET)
        return
    if LIBC.setns(fd, CLONE_NEWNET) != 0:
        err = ctypes.get_errno()
        raise OSError(err, os.strerror(err))


def unshare(flags: int) -> None:
    """unshare(2) for the calling thread (for user namespaces: the whole process, which must have one thread).

    Raises: OSError.
    """
    if hasattr(os, "unshare"):
        os.unshare(flags)
        return
    if LIBC.unshare(flags) != 0:
        err = ctypes.get_errno()
        raise OSError(err, os.strerror(err))


def run_in(fd: int, work: Callable[[], T], cancel: Callable[[], None] | None = None) -> T:
    """Run `work` in the network namespace behind `fd`; `cancel` as for `in_thread`.

    Sockets opened by `work` stay in that namespace for as long as they live, and /proc/thread-self/net and
    /proc/sys/net read there are that namespace's.

    setns(2) needs CAP_SYS_ADMIN even to enter the namespace that the thread is in (netns_install()). So if `fd` is that
    namespace, nothing is entered: `work` runs in the calling thread, or, with `cancel`, in a thread of its own.

    Raises: NotPermitted if entering is refused, and what `work` raises.
    """
    if is_own(fd):
        return work() if cancel is None else in_thread(work, cancel)

    def inside() -> T:
        enter(fd)
        return work()

    return in_thread(inside, cancel)


def is_own(fd: int) -> bool:
    """Whether the namespace behind `fd` is the calling thread's."""
    return os.path.samestat(os.fstat(fd), os.stat("/proc/thread-self/ns/net"))


def try_to_enter() -> None:
    """Test the privilege to enter namespaces, by entering the own one again. Raises: NotPermitted, KernelError."""
    fd = os.open(SELF, os.O_RDONLY | os.O_CLOEXEC)
    try:
        in_thread(lambda: enter(fd))
    finally:
        os.close(fd)


def enter(fd: int) -> None:
    """Move the calling thread, which must not be the main thread, into the namespace behind `fd`.

    Raises: NotPermitted, KernelError.
    """
    try:
        _setns(fd)
    except OSError as e:
        if e.errno == errno.EPERM:
            raise NotPermitted(
                "entering another network namespace is refused", hint=privilege(os.geteuid(), "CAP_SYS_ADMIN")
            ) from None
        raise KernelError("setns", e.errno or 0, f"fd {fd}") from None


def create() -> int:
    """Create an empty network namespace and return a descriptor that holds it; it ends when the last one is closed.

    Raises: NotPermitted without CAP_SYS_ADMIN in the user namespace.
    """

    def body() -> int:
        try:
            unshare(CLONE_NEWNET)
        except OSError as e:
            if e.errno == errno.EPERM:
                raise NotPermitted(
                    "making a network namespace is refused", hint=privilege(os.geteuid(), "CAP_SYS_ADMIN")
                ) from None
            raise KernelError("unshare(CLONE_NEWNET)", e.errno or 0) from None
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    return in_thread(body)


def names() -> list[str]:
    """The names of namespaces below /run/netns and similar directories."""
    found: list[str] = []
    for directory in NAMED_DIRS:
        try:
            found += sorted(os.listdir(directory))
        except OSError:
            continue
    return list(dict.fromkeys(found))


def _near(spec: str) -> str:
    """A hint with the most similar name; empty if none is similar."""
    from difflib import get_close_matches

    near = [] if "/" in spec or spec.startswith("pid:") else get_close_matches(spec, names(), 1)
    return f"did you mean {shlex.quote(printable(near[0]))}?" if near else ""


def resolve(spec: str) -> Netns:
    """The namespace that `spec` names: NAME (below /run/netns), PATH or pid:N.

    Raises: UsageError if `spec` is none of these, UnknownTarget if there is no such namespace, NotPermitted.
    """
    if not spec or "\0" in spec:
        raise UsageError(f"--netns {spec!r} is not a namespace", hint="give NAME, PATH, pid:N or all")
    if spec.startswith("pid:"):
        number = spec[4:]
        if not (number.isascii() and number.isdigit()) or len(number) > 10:
            raise UsageError(f"--netns {spec}: {number!r} is not a process id", hint="give pid:N, as in pid:1")
        candidates = [f"/proc/{int(number)}/ns/net"]
    elif "/" in spec:
        candidates = [spec]
    else:
        candidates = [f"{d}/{spec}" for d in NAMED_DIRS if os.path.lexists(f"{d}/{spec}")] or [
            f"{NAMED_DIRS[0]}/{spec}"
        ]
    path = candidates[0]
    fd = _open(path, spec)
    try:
        # Any file can be opened; only the link of a namespace's descriptor reads "net:[inode]".
        link = os.readlink(f"/proc/self/fd/{fd}")
        inode = os.fstat(fd).st_ino
        is_netns = link.startswith("net:[") or _is_nsfs_net(fd)
    finally:
        os.close(fd)
    if not is_netns:
        raise UnknownTarget(f"--netns {spec}: {path} is not a network namespace", hint="give NAME, PATH, pid:N or all")
    return Netns(spec, inode, path)


def _is_nsfs_net(fd: int) -> bool:
    import fcntl

    ns_get_nstype = 0xB703  # NS_GET_NSTYPE, linux/nsfs.h
    try:
        return fcntl.ioctl(fd, ns_get_nstype) == CLONE_NEWNET
    except OSError:
        return False
