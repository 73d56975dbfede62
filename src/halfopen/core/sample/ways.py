"""The routes back to some clients, as the kernel would choose them now."""

from __future__ import annotations

from msgspec import Struct


class AskedWay(Struct, frozen=True):
    """A client whose way back is asked for. number: its IPv4 address, or the first 64 bits of its IPv6 address. local:
    the address that answers it, "" where that is not known. bound: the device that its listener is bound to, 0 for
    none. came_by: the device by which its last SYN came in, 0 where that is not known.
    """

    is_v4: bool
    number: int
    local: str = ""
    bound: int = 0
    came_by: int = 0


class WayBack(Struct, frozen=True):
    """The way back to one client. device: that its packets leave by, "" where there is none, because of `error` (an
    errno). came_by: the device by which its last SYN came in, "" where that is not known, or cannot be compared.
    """

    number: int
    device: str = ""
    came_by: str = ""
    error: int = 0

    @property
    def elsewhere(self) -> bool:
        """Whether packets to it leave by another device than its own come in by."""
        return bool(self.device and self.came_by) and self.device != self.came_by


class WaysBack(Struct, frozen=True):
    """The ways back to clients that ask again, a few of them."""

    ways: tuple[WayBack, ...] = ()
