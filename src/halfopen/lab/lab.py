"""The lab: two private hosts joined by a wire, which end with the context or the process."""

from __future__ import annotations

import os
import resource
import subprocess
from types import TracebackType
from typing import Self

from halfopen.core.errors import LabError, Unsupported
from halfopen.lab import wiring
from halfopen.lab.child import MOST_OPEN_FILES
from halfopen.lab.client import Client
from halfopen.lab.host import LabHost
from halfopen.lab.server import Server


class Lab:
    """A server host and a client host in network namespaces of their own, joined by a veth pair.

    The namespaces have no names and are held only by descriptors of this process, and every child process dies with it,
    so nothing is left behind, however it ends. Traffic goes only to listeners of `server`.

    Use as a context manager; entering raises this process's soft limit of open files towards the hard one, as
    every accepted connection takes one. `seed` makes sequence numbers repeatable.

    Raises (on entering): NotPermitted without CAP_SYS_ADMIN (see `enter_user_namespace`), Unsupported without the `ip`
    command or veth devices.
    """

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = seed
        self.ipv6 = os.path.exists("/proc/sys/net/ipv6")
        self._server: Server | None = None
        self._client: Client | None = None

    @property
    def server(self) -> Server:
        """The host that listens. Raises: LabError outside the context."""
        if self._server is None:
            raise LabError("the lab is not open", hint="use it as: with Lab() as lab")
        return self._server

    @property
    def client(self) -> Client:
        """The host that connects. Raises: LabError outside the context."""
        if self._client is None:
            raise LabError("the lab is not open", hint="use it as: with Lab() as lab")
        return self._client

    def __enter__(self) -> Self:
        if self._server is not None:
            raise LabError("this lab is open already")
        allow_descriptors()
        try:
            self._server = Server(ipv6=self.ipv6)
            self._client = Client(self._server, self.seed)
            self._wire(self._server, self._client)
        except BaseException:
            self.close()
            raise
        return self

    def _wire(self, server: Server, client: Client) -> None:
        # The pair first, then its settings (duplicate address detection off), then up.
        _ip(server, wiring.link_batch(client.netns_path))
        for mine, other in ((server, client), (client, server)):
            mine.set_sysctls(wiring.settings(mine.device, self.ipv6), missing_ok=True)
            _ip(mine, wiring.address_batch(mine.side, other.side, self.ipv6))
        _queue(server)

    def settle(self, n: int, timeout: float = 30.0) -> None:
        """Wait until the server holds exactly `n` request sockets. Raises: LabError when it does not in time."""
        self.server.wait_half_open(n, timeout=timeout)

    def close(self) -> None:
        """End all traffic, threads and children, and close the namespaces. May be called more than once."""
        client, server, self._client, self._server = self._client, self._server, None, None
        try:
            if client is not None:
                client.close()
        finally:
            if server is not None:
                server.close()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def allow_descriptors() -> None:
    """Raise this process's soft limit of open files towards the hard one: each connection takes a descriptor."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _ip(host: LabHost, batch: str) -> None:
    try:
        done = host.set_up(["ip", "-batch", "-"], batch)
    except LabError:
        raise Unsupported("iproute2", "the lab needs the ip command", hint="apt install iproute2") from None
    if done.returncode:
        why = _first_line(done)
        if "not supported" in why:
            raise Unsupported("veth", f"the lab needs veth devices: {why}", hint="modprobe veth")
        raise LabError(f"setting up the lab's {host.name} failed: {why}")


def _queue(host: LabHost) -> None:
    """Give the host's device a queue, so that sending never fails.

    A veth without a queue refuses packets while its peer is busy, and the kernel drops a request whose SYN-ACK it
    cannot retransmit (`reqsk_timer_handler()`): of 100,000 requests made in one second, 83,000 were gone in the next.
    """
    try:
        done = host.set_up(wiring.queue_command(host.device))
    except LabError:
        raise Unsupported("iproute2", "the lab needs the tc command", hint="apt install iproute2") from None
    if done.returncode:
        raise LabError(f"setting up the lab's {host.name} failed: {_first_line(done)}")


def _first_line(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stderr.strip().splitlines() or ["no message"])[0]
