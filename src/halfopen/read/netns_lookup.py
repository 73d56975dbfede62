"""The identity of a network namespace, so that a change can find it again later and mistakes no other for it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Final

from halfopen.core.errors import NotPermitted, Unsupported
from halfopen.core.tune.ledger import Clocks
from halfopen.core.tune.spots import Place
from halfopen.linux import proc
from halfopen.linux.identity import boot_id, cookie, of_thread
from halfopen.linux.mounts import mounts
from halfopen.linux.netns import SELF, Netns, current, resolve, run_in

_NON_BLOCKING: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def clocks() -> Clocks:
    """The current time."""
    return Clocks(time.time(), boot_id(), time.clock_gettime(time.CLOCK_BOOTTIME))


def identify(ns: Netns, fd: int) -> Place:
    """The namespace behind `fd`, opened as `ns` says. Raises: NotPermitted, KernelError."""
    return Place.of(run_in(fd, lambda: of_thread(ns)))


def is_booted(fd: int | None) -> bool:
    """Whether the namespace (None: the caller's) is the one that was booted: that of process 1, as seen from here.

    Compared through a file of that namespace that everybody may stat, as /proc/1/ns may be closed even to root.

    Raises: Unsupported when it could not be told.
    """

    def look() -> bool:
        try:
            return os.path.samestat(os.stat("/proc/1/net/dev"), os.stat("/proc/thread-self/net/dev"))
        except OSError as e:
            raise Unsupported(
                "booted namespace",
                f"the network namespace that the machine booted with could not be determined: {e.strerror}",
            ) from None

    return look() if fd is None else run_in(fd, look)


def booted() -> Place:
    """The namespace that was booted. Raises: Unsupported, UnknownTarget, NotPermitted."""
    ns = current() if is_booted(None) else resolve("pid:1")
    fd = ns.open()
    try:
        return identify(ns, fd)
    finally:
        os.close(fd)


def find(place: Place) -> int | None:
    """A descriptor of the namespace; None if it is gone: the machine was booted since, or nothing holds it any more.

    It is looked for where it was opened before, then among the namespaces of all processes, their open files, and
    mounts.

    Raises: NotPermitted if it was not found, but some processes could not be examined for lack of privileges.
    """
    if place.boot_id != boot_id():
        return None
    refused = False
    nsfs = os.stat(SELF).st_dev
    for path in _candidates(place):
        try:
            # The path may lead to anything by now: make sure that only a namespace is opened.
            facts = os.stat(path)
            if (facts.st_dev, facts.st_ino) != (nsfs, place.inode):
                continue
            fd = os.open(path, _NON_BLOCKING)
        except PermissionError:
            refused = True
            continue
        except OSError:
            continue
        if _is(fd, place):
            return fd
        os.close(fd)
    if os.geteuid() != 0 and (refused or not _sees_all()):
        raise NotPermitted(
            f"network namespace {place.name} was not found, but not every process could be examined", hint="run as root"
        )
    return None


def _is(fd: int, place: Place) -> bool:
    if os.fstat(fd).st_ino != place.inode:
        return False
    return place.cookie is None or run_in(fd, cookie) == place.cookie


def _candidates(place: Place) -> Iterator[str]:
    yield place.path
    yield SELF
    wanted = f"net:[{place.inode}]"
    for pid in proc.pids():
        if _reads(f"/proc/{pid}/ns/net", wanted):
            yield f"/proc/{pid}/ns/net"
    try:
        yield from [mount.point for mount in mounts() if mount.root == wanted]
    except OSError:
        pass
    yield from _held_by_descriptors(place.inode, wanted)


def _held_by_descriptors(inode: int, wanted: str) -> Iterator[str]:
    # Imported here, for the rare case that nothing else holds the namespace: it would bring numpy into a process that
    # waits for minutes.
    from halfopen.read import owners

    found = owners.namespace_files()
    if found is not None:
        yield from (f"/proc/{pid}/fd/{descriptor}" for held, pid, descriptor in found if held == inode)
        return
    for pid in proc.pids():
        directory = f"/proc/{pid}/fd"
        try:
            names = os.listdir(directory)
        except OSError:
            continue
        for name in names:
            if _reads(f"{directory}/{name}", wanted):
                yield f"{directory}/{name}"


def _reads(path: str, wanted: str) -> bool:
    try:
        return os.readlink(path) == wanted
    except OSError:
        return False


def _sees_all() -> bool:
    """Whether this process may examine every other one, as root may."""
    for pid in proc.pids():
        try:
            os.readlink(f"/proc/{pid}/ns/net")
        except PermissionError:
            return False
        except OSError:
            continue
    return True
