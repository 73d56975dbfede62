"""The lab's server host: listeners of every kind, and how many half-open connections its kernel holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from halfopen.core.errors import Unsupported
from halfopen.lab import requests, wiring
from halfopen.lab.host import LabHost
from halfopen.lab.listener import MAX_BACKLOG, LabListener, ListenerSpec, Mode
from halfopen.linux import kernel_release

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Server(LabHost):
    """The host that listens; `ipv6` says whether it may do so on IPv6 addresses."""

    def __init__(self, *, ipv6: bool) -> None:
        super().__init__("server", wiring.SERVER)
        self._ipv6 = ipv6
        self.listeners: list[LabListener] = []
        # A million half-open connections need a backlog of a million. In a user namespace older kernels hide it.
        self.set_sysctls({"net.core.somaxconn": str(MAX_BACKLOG)}, missing_ok=True)
        self.somaxconn = self._somaxconn()

    def _somaxconn(self) -> int:
        try:
            return int(self.sysctl("net.core.somaxconn"))
        except (Unsupported, OSError):
            return 4096 if _since_5_4() else 128

    def listen(
        self,
        port: int = 8080,
        address: str = "0.0.0.0",
        backlog: int = 128,
        mode: Mode = "accept",
        *,
        reuseport: int = 1,
        defer_accept_s: int = 0,
        retries: int | None = None,
        v6only: bool | None = None,
        other_process: bool = False,
        device: str | None = None,
    ) -> LabListener:
        """Open a listening port; 0 lets the kernel choose.

        address: `0.0.0.0`, `::` (both families unless `v6only`) or one of the host's own (`lab.server.v4`, `.v6`).
        mode: "accept" echoes what comes, "hold" accepts and keeps silent, "never" leaves the accept queue to fill.
        reuseport: that many sockets share the port. defer_accept_s: TCP_DEFER_ACCEPT. retries: TCP_SYNCNT, its own
        number of SYN-ACK retransmits. other_process: only a child process has the sockets. device: SO_BINDTODEVICE.

        Raises: UsageError for what cannot be, LabError when the port is taken or the lab closed, KernelError.
        """
        wanted = ListenerSpec(port, address, backlog, mode, reuseport, defer_accept_s, retries, v6only, device)
        wanted.check(self._ipv6)
        listener = LabListener(self, wanted, self.somaxconn, other_process)
        self.listeners.append(listener)
        return listener

    def requests(self, port: int | None = None) -> NDArray[Any]:
        """Every request socket the server's kernel holds, (N,) dtype REQUEST, of one local port or of all.

        Raises: as `requests.held`.
        """
        return requests.held(self, port)

    def half_open(self, port: int | None = None) -> int:
        """How many request sockets the server's kernel holds, deferred-accept ones included."""
        return len(self.requests(port))

    def wait_half_open(self, n: int, *, port: int | None = None, timeout: float = 30.0) -> None:
        """Wait until the server holds exactly `n` request sockets. Raises: LabError when it does not in time."""
        requests.wait(self, n, port=port, timeout=timeout)

    def close(self) -> None:
        """Close every listener, and end the host."""
        for listener in self.listeners:
            listener.close()
        super().close()


def _since_5_4() -> bool:
    # Only where the setting is hidden, so that nothing but the kernel's default (SOMAXCONN) can be meant:
    # since commit 19f92a030ca6 ("net: increase SOMAXCONN to 4096") (in v5.4).
    return kernel_release.running() >= (5, 4)


__all__ = ["Server"]
