"""A listener of the lab's server: its description, its sockets, and the thread or process that serves them."""

from __future__ import annotations

import ctypes
import errno
import ipaddress
import json
import mmap
import os
import socket
import struct
import subprocess
import threading
from typing import Any, Final, Literal

from msgspec import Struct
from msgspec.structs import asdict

from halfopen.core.errors import KernelError, LabError, NotPermitted, UsageError
from halfopen.lab import child
from halfopen.lab.host import LabHost

Mode = Literal["accept", "never", "hold"]
MODES: Final = ("accept", "never", "hold")
MAX_BACKLOG: Final = 4_000_000
MAX_REUSEPORT: Final = 256

_SO_ATTACH_FILTER: Final = 26
_SO_DETACH_FILTER: Final = 27
# Classic BPF on a packet that begins at the TCP header: drop what carries ACK without SYN.
_DROP_ACKS: Final = (
    (0x30, 0, 0, 13),  # ldb [13]: the flags
    (0x54, 0, 0, 0x12),  # and SYN|ACK
    (0x15, 0, 1, 0x10),  # jeq ACK alone: next, else skip one
    (0x06, 0, 0, 0),  # ret 0: drop
    (0x06, 0, 0, 0xFFFFFFFF),  # ret all of it
)


class ListenerSpec(Struct, frozen=True):
    """The description of a listener, as `Server.listen` takes it."""

    port: int
    address: str
    backlog: int
    mode: Mode
    reuseport: int
    defer_accept_s: int
    retries: int | None
    v6only: bool | None
    device: str | None

    def check(self, ipv6: bool) -> None:
        """Raises: UsageError if such a listener is not possible."""
        try:
            address = ipaddress.ip_address(self.address)
        except ValueError:
            raise UsageError(f"{self.address!r} is not an address") from None
        bounds = (
            ("port", self.port, 0, 65535),
            ("backlog", self.backlog, 0, MAX_BACKLOG),
            ("reuseport", self.reuseport, 1, MAX_REUSEPORT),
            ("defer_accept_s", self.defer_accept_s, 0, 3600),
            ("retries", 1 if self.retries is None else self.retries, 1, 127),
        )
        for name, value, low, high in bounds:
            if not low <= value <= high:
                raise UsageError(f"a lab listener's {name} is {low} to {high}, not {value}")
        if self.mode not in MODES:
            raise UsageError(f"a lab listener's mode is one of {', '.join(MODES)}, not {self.mode!r}")
        if address.version == 6 and not ipv6:
            raise UsageError(f"{self.address}: this machine has no IPv6")


class LabListener:
    """One listening port of the lab's server; made by `Server.listen`, ended by `close` or with the lab.

    port, address: where it listens. backlog: the one in force, after somaxconn. sockets: the listening sockets, none
    when another process has them. inodes: of those sockets, wherever they are. pids: the processes that hold them.
    server: the host whose namespace they are in.
    """

    def __init__(self, server: LabHost, wanted: ListenerSpec, somaxconn: int, other_process: bool) -> None:
        """Raises: LabError, KernelError."""
        self.server = server
        self.wanted = wanted
        self.address = wanted.address
        self.backlog = min(wanted.backlog, somaxconn)
        self.closed = False
        self.sockets: list[socket.socket] = []
        self._accepted = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._page: mmap.mmap | None = None
        self._fds: list[int] = []
        self._thread: threading.Thread | None = None
        self._stop: tuple[int, int] | None = None
        try:
            if other_process:
                self._start_process()
            else:
                self._start_here()
        except OSError as e:
            where = f"port {wanted.port} of {wanted.address}"
            if e.errno == errno.EADDRINUSE:
                raise LabError(f"{where} is taken in the lab") from None
            raise KernelError("listen", e.errno or 0, where) from None

    @property
    def v6(self) -> bool:
        """Whether the listening socket is an IPv6 one."""
        return ":" in self.address

    @property
    def dual_stack(self) -> bool:
        """Whether IPv4 clients reach it through v4-mapped addresses."""
        return self.address == "::" and not self.wanted.v6only

    @property
    def accepted(self) -> int:
        """How many connections were accepted so far."""
        if self._page is not None:
            count: int = struct.unpack_from("=Q", self._page)[0]
            return count
        return self._accepted

    def target(self, family: int | None = None) -> str:
        """The server's address to reach it at, by IPv4 (4) or IPv6 (6); None: the listener's own family.

        Raises: UsageError when it does not listen in that family.
        """
        v6 = self.v6 if family is None else family == 6
        reached = self.v6 if v6 else (not self.v6 or self.dual_stack)
        if family not in (None, 4, 6) or not reached:
            raise UsageError(f"the listener on {self.address} is not reached by family {family}", hint="give 4 or 6")
        if self.address not in ("0.0.0.0", "::"):
            return self.address
        return self.server.v6 if v6 else self.server.v4

    def lose_acks(self, on: bool = True) -> None:
        """Drop every segment with ACK and without SYN before the listener sees it; False: stop dropping.

        Real clients then believe that they are connected while the server holds their requests half-open. Source:
        tcp_v4_rcv() runs the listener's socket filter on the final ACK of a handshake.

        Raises: LabError once closed, NotPermitted when another process's listener cannot be reached.
        """
        if self.closed:
            raise LabError("this listener is closed")
        for s in self._all_sockets():
            with s:
                _lose_acks(s, on)

    def _all_sockets(self) -> list[socket.socket]:
        if self._process is None:
            return [s.dup() for s in self.sockets]
        from halfopen.read.listener_options import duplicate

        try:
            return [duplicate(self._process.pid, fd) for fd in self._fds]
        except OSError as e:
            raise NotPermitted(f"duplicating the other process's listener is refused: {e.strerror}") from None

    def _start_here(self) -> None:
        self.sockets = self.server.run(lambda: child.open_listeners(asdict(self.wanted)))
        self.port: int = self.sockets[0].getsockname()[1]
        self.pids = [os.getpid()]
        self.inodes = [os.fstat(s.fileno()).st_ino for s in self.sockets]
        if self.wanted.mode == "never":
            return
        self._stop = os.pipe()
        work = (self.sockets, self.wanted.mode == "accept", self._stop[0], self._count)
        self._thread = threading.Thread(target=child.serve, args=work, name=f"lab-listener-{self.port}", daemon=True)
        self._thread.start()

    def _count(self, accepted: int) -> None:
        self._accepted = accepted

    def _start_process(self) -> None:
        fd = os.memfd_create("lab-accepted")
        try:
            os.ftruncate(fd, 8)
            self._page = mmap.mmap(fd, 8)
            pipe = subprocess.PIPE
            process = self._process = self.server.start(["serve"], stdin=pipe, stdout=pipe, pass_fds=[fd])
            answer = _ask(process, {**asdict(self.wanted), "count_fd": fd})
        finally:
            os.close(fd)
        if "errno" in answer:
            self.server.end(process)
            raise OSError(answer["errno"], os.strerror(answer["errno"]))
        self.port = answer["port"]
        self.pids = [process.pid]
        self.inodes = answer["inodes"]
        self._fds = answer["fds"]

    def close(self) -> None:
        """Close the listening sockets and all accepted connections, and end the other process, if any."""
        if self.closed:
            return
        self.closed = True
        if self._process is not None:
            self.server.end(self._process)
        if self._thread is not None and self._stop is not None:
            os.close(self._stop[1])
            self._thread.join()
            os.close(self._stop[0])
        for s in self.sockets:
            s.close()


def _ask(process: subprocess.Popen[bytes], want: dict[str, Any]) -> dict[str, Any]:
    """Send the child the description of its listener. Its answer has `errno`, or what it opened."""
    line = b""
    if process.stdin is not None and process.stdout is not None:
        process.stdin.write(json.dumps(want).encode() + b"\n")
        process.stdin.flush()
        line = process.stdout.readline()
    answer: dict[str, Any] = json.loads(line) if line else {"errno": errno.ECHILD}
    return answer


def _lose_acks(s: socket.socket, on: bool) -> None:
    if not on:
        try:
            s.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
        except FileNotFoundError:  # no filter was attached
            pass
        return
    code = b"".join(struct.pack("=HBBI", *op) for op in _DROP_ACKS)
    buffer = ctypes.create_string_buffer(code, len(code))
    s.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(_DROP_ACKS), ctypes.addressof(buffer)))
