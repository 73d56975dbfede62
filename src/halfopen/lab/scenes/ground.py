"""The hosts of a scene: a server and a client, with a wire in user space between them."""

from __future__ import annotations

from typing import Final, Self

from halfopen.core.errors import LabError
from halfopen.lab import wiring
from halfopen.lab.host import LabHost
from halfopen.lab.lab import allow_descriptors
from halfopen.lab.raw_host import RawHost
from halfopen.lab.wire.wire import Wire, finish_checksums
from halfopen.lab.wiring import CLIENT, NOBODY, SERVER, Side

# The addresses of real clients: the client's kernel owns all of them, by a local route (AnyIP).
REAL_V4: Final = "10.64.0.0/10"
REAL_V6: Final = "2001:db8:77::/48"
# The addresses of sources that never answer; spoofed sources come from the rest of the address space as well.
SERVER_END: Final = Side("lab-in", "02:00:00:00:01:01", "", "")
CLIENT_END: Final = Side("lab-out", "02:00:00:00:01:02", "", "")
_CLIENT_PORTS: Final = "1024 65535"


def _links(mine: Side, peer: Side, between: str) -> str:
    return (
        f"link add {mine.device} address {mine.mac} type veth "
        f"peer name {peer.device} address {peer.mac} netns {between}\n"
    )


class Ground:
    """Three namespaces: `server` and `client` with real kernels, and between them the two ends of the wire.

    `inlet` sends frames straight to the server; `outlet` is the client's own device. A server's answers to any source
    but the client's own addresses and REAL_V4, REAL_V6 go to an unused hardware address.
    """

    def __init__(self, seed: int = 0) -> None:
        allow_descriptors()
        self._hosts: list[LabHost] = []
        try:
            self.server = self._made(RawHost("server", SERVER, seed))
            self.client = self._made(RawHost("client", CLIENT, seed))
            self.inlet = self._made(RawHost("wire", SERVER_END, seed))
            self._lay()
            self.wire = Wire(self.inlet, SERVER_END.device, CLIENT_END.device, seed)
        except BaseException:
            self.close()
            raise

    def _made(self, host: RawHost) -> RawHost:
        self._hosts.append(host)
        return host

    def _lay(self) -> None:
        for mine, other, peer in ((self.server, CLIENT, SERVER_END), (self.client, SERVER, CLIENT_END)):
            run(mine, _links(mine.side, peer, self.inlet.netns_path))
            mine.set_sysctls(wiring.settings(mine.device, True), missing_ok=True)
            run(mine, wiring.address_batch(mine.side, other, True))
            finish_checksums(mine)
            run_command(mine, wiring.queue_command(mine.device))
        off = {f"net.ipv6.conf.{place}.disable_ipv6": "1" for place in ("all", "default")}
        self.inlet.set_sysctls(off, missing_ok=True)
        run(self.inlet, f"link set {SERVER_END.device} up\nlink set {CLIENT_END.device} up\n")
        run(self.server, _server_routes())
        run(self.client, f"route add local {REAL_V4} dev lo\nroute add local {REAL_V6} dev lo\n" + _client_routes())
        self.client.set_sysctls({"net.ipv4.ip_local_port_range": _CLIENT_PORTS})

    def close(self) -> None:
        """End every process, and close the namespaces. May be called more than once."""
        if (wire := getattr(self, "wire", None)) is not None:
            wire.close()
        while self._hosts:
            self._hosts.pop().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _server_routes() -> str:
    dev = f"dev {SERVER.device}"
    return (
        f"route add {REAL_V4} via {CLIENT.v4} {dev}\nroute add default via {NOBODY.v4} {dev}\n"
        f"route add {REAL_V6} via {CLIENT.v6} {dev}\nroute add ::/0 via {NOBODY.v6} {dev}\n"
    )


def _client_routes() -> str:
    dev = f"dev {CLIENT.device}"
    return f"route add default via {SERVER.v4} {dev}\nroute add ::/0 via {SERVER.v6} {dev}\n"


def run(host: LabHost, batch: str) -> None:
    """Run `ip -batch` lines inside a host. Raises: LabError with what `ip` says."""
    run_command(host, ["ip", "-batch", "-"], batch)


def run_command(host: LabHost, words: list[str], text: str | None = None) -> None:
    """Run a command inside a host. Raises: LabError with what the command says."""
    done = host.set_up(words, text)
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["no message"])[0]
        raise LabError(f"setting up the lab's {host.name} failed: {' '.join(words)}: {why}")
