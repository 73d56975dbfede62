"""The lab's client host: floods, slow clients and honest ones, only towards listeners of the same lab."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Protocol

from halfopen.core.errors import UsageError
from halfopen.lab import wiring
from halfopen.lab.listener import LabListener
from halfopen.lab.raw_host import RawHost
from halfopen.lab.server import Server

if TYPE_CHECKING:
    from halfopen.lab.flood import Flood, Sent
    from halfopen.lab.honest import Honest
    from halfopen.lab.slow import Slow
    from halfopen.lab.sources import SourceKind


class _Stoppable(Protocol):
    def stop(self) -> Any: ...


class Client(RawHost):
    """The host that connects, only to listeners of `server`. seed: makes its sequence numbers repeatable."""

    def __init__(self, server: Server, seed: int) -> None:
        super().__init__("client", wiring.CLIENT, seed)
        self._server = server
        self._running: list[_Stoppable] = []

    def target(self, listener: LabListener, family: int | None) -> str:
        """The address to reach a listener of this lab at.

        Raises: TypeError for anything but a LabListener, UsageError for another lab's, a closed one or a wrong family.
        """
        if not isinstance(listener, LabListener):
            raise TypeError(f"the lab's traffic goes to a LabListener of its own server, not to {listener!r}")
        if listener.server is not self._server:
            raise UsageError("this listener belongs to another lab")
        if listener.closed:
            raise UsageError("this listener is closed")
        return listener.target(family)

    def half_open(
        self,
        listener: LabListener,
        n: int,
        rate: float | None = None,
        *,
        sources: SourceKind = "spoofed",
        family: int | None = None,
    ) -> Sent:
        """Leave `n` connections half-open: send `n` SYNs, `rate` a second (None: as fast as it goes), answer nothing.

        sources: "spoofed" draws from 198.18.0.0/15 or 2001:2::/48, "few" from eight addresses, "one" from one.
        family: 4 or 6, for a dual-stack listener (default its own). At most 2,000,000, over at most 600 s.

        Raises: TypeError, UsageError, Unsupported, NotPermitted, KernelError.
        """
        from halfopen.lab import flood
        from halfopen.lab.sources import check_sources

        target = self.target(listener, family)
        flood.check_bounds(n, rate)
        check_sources(sources)
        return flood.half_open(self, listener, n, rate, sources, target)

    def flood(
        self,
        listener: LabListener,
        rate: float,
        duration_s: float,
        *,
        sources: SourceKind = "spoofed",
        family: int | None = None,
    ) -> Flood:
        """As `half_open`, steadily and in the background: `rate` SYNs a second for `duration_s` (at most 600 s).

        Raises: TypeError, UsageError.
        """
        from halfopen.lab import flood
        from halfopen.lab.sources import check_sources

        target = self.target(listener, family)
        flood.check_bounds(0, rate, duration_s=duration_s)
        flood.check_bounds(int(rate * duration_s), rate, most=flood.MAX_FLOOD)
        check_sources(sources)
        started = flood.Flood(self, listener, rate, duration_s, sources, target)
        self._running.append(started)
        return started

    def slow(
        self,
        listener: LabListener,
        n: int,
        delay_s: float = 1.0,
        spread_s: float = 0.0,
        rate: float | None = None,
        *,
        sources: SourceKind = "spoofed",
        family: int | None = None,
        loss: float = 0.0,
    ) -> Slow:
        """`n` clients, in the background, that answer the SYN-ACK only after `delay_s` plus up to `spread_s`.

        Delays are drawn evenly. Once connected, the clients stay silent. At most 100,000, each within 600 s. loss: the
        share (0 to 1) of first SYN-ACKs, and also of first ACKs, that are lost.

        Raises: TypeError, UsageError, Unsupported, NotPermitted.
        """
        from halfopen.lab import flood, slow
        from halfopen.lab.sources import check_sources

        target = self.target(listener, family)
        flood.check_bounds(n, rate, most=slow.MAX_COUNT)
        slow.check_delay(delay_s, spread_s)
        slow.check_loss(loss)
        check_sources(sources)
        started = slow.Slow(self, listener, n, delay_s, spread_s, rate, sources, target, loss)
        self._running.append(started)
        return started

    def connect(self, listener: LabListener, n: int, *, family: int | None = None, timeout: float = 5.0) -> Honest:
        """`n` honest clients: real sockets of the client's kernel, connected within `timeout` seconds if they can be.

        Clients that cannot connect in time (a full queue) keep trying, as the kernel does. At most 20,000.

        Raises: TypeError, UsageError, LabError when there are not enough descriptors.
        """
        from halfopen.lab import honest

        target = self.target(listener, family)
        connected = honest.Honest(self, target, listener.port, n, timeout)
        self._running.append(connected)
        return connected

    def close(self) -> None:
        """Stop all traffic, and end the host."""
        for running in self._running:
            with contextlib.suppress(Exception):  # errors are reported where the traffic was requested
                running.stop()
        super().close()
