"""Which listener, in which network namespace of which boot, on which host: the identity for programs, the names for
people.
"""

from __future__ import annotations

from msgspec import Struct

ListenerKey = tuple[int, str, int, int]
"""A listener, or a SO_REUSEPORT group, within its namespace: family, address, port and device. A program that is
started again listens under the same key, so its alarm and its history go on; a change is written to one socket, which
its cookie tells from every other (`core.tune.spots.ListeningSocket`).
"""


class Namespace(Struct, frozen=True):
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
    name: str = "self"
    path: str = ""
    lives_in: str = ""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Namespace):
            return NotImplemented
        return self.inode == other.inode and self.cookie == other.cookie and self.boot_id == other.boot_id

    def __hash__(self) -> int:
        return hash((self.boot_id, self.inode, self.cookie))


class Host(Struct, frozen=True):
    """The machine that was read: its host name, and its kernel's release as `uname -r` prints it."""

    name: str
    kernel: str
