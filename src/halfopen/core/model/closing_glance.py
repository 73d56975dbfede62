"""Whether a closer look at open and closing connections is worth it, from a few numbers."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

# No pool leaves so many behind when its server hangs up.
MANY: Final = 50
# More are not read for a look in passing: 64 bytes each, and as much again to judge them.
READ_MOST: Final = 500_000
# From here on connect() searches for a port for long.
_HALF: Final = 0.5


class ClosingGlance(Struct, frozen=True):
    """close_wait: connections in CLOSE_WAIT; None where they were not counted. waiting: minisockets, nearly all in
    TIME_WAIT. ports: local ports that connect() may choose from; 0 where not known.
    """

    close_wait: int | None = None
    waiting: int = 0
    ports: int = 0

    @property
    def leaks(self) -> bool:
        """Whether so many are in CLOSE_WAIT that a program may leak them."""
        return (self.close_wait or 0) >= MANY

    @property
    def ports_run_out(self) -> bool:
        """Whether TIME_WAIT would fill half of the local ports, were it all towards one destination."""
        return bool(self.ports) and self.waiting >= _HALF * self.ports
