"""Which listener, in which network namespace of which boot, on which host: the identity for programs, the names for
people.
"""

from __future__ import annotations

from dataclasses import dataclass, field

ListenerKey = tuple[int, str, int, int]
"""A listener, or a SO_REUSEPORT group, within its namespace: family, address, port and device. A program that is
started again listens under the same key, so its alarm and its history go on; a change is written to one socket, which
its cookie tells from every other (`core.tune.spots.ListeningSocket`).
"""


@dataclass(frozen=True, slots=True)
class Namespace:
    """One network namespace. Two are equal, and have the same hash, when boot_id, inode and cookie are.

    The kernel gives an inode to another namespace once its own is gone; a cookie (SO_NETNS_COOKIE, Linux 5.14) it gives
    out once in a boot. cookie: None where the kernel has none, or nobody could enter the namespace to ask.

    name: as --netns takes it, "self" for the reader's own; path: where it was opened; lives_in: who lives there. These
    change during a namespace's life (one that is known as pid:N is renamed when process N ends), so nothing is looked
    up by them.
    """

    boot_id: str
    inode: int
    cookie: int | None = None
    name: str = field(default="self", compare=False)
    path: str = field(default="", compare=False)
    lives_in: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Host:
    """The machine that was read: its host name, and its kernel's release as `uname -r` prints it."""

    name: str
    kernel: str
