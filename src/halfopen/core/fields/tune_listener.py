"""Fields of a listening socket in `tune listener --json`."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from halfopen.core.fields.field import Field, Kind
from halfopen.core.fields.process import processes
from halfopen.core.model import timing
from halfopen.core.tune.listener import Running


class InNamespace(Struct, frozen=True):
    """A socket that listens, and tcp_synack_retries of the namespace it is in."""

    running: Running
    synack_retries: int

    def if_known(self, value: Any) -> Any:
        """The value of one of its options, None where these cannot be read."""
        return value if self.running.problem is None else None

    @property
    def release_time_s(self) -> float:
        """When half-open connections are released, in seconds."""
        own = self.running.retries
        return timing.release_time_s(self.synack_retries if own is None else own)


LISTENER: Final[tuple[Field[InNamespace], ...]] = (
    Field(
        "address",
        "where it listens; `0.0.0.0` or `::` for any",
        lambda i: i.running.socket.address,
        "string",
        kind=Kind.LABEL,
    ),
    Field("port", "port", lambda i: i.running.socket.port, kind=Kind.LABEL),
    Field("ifindex", "the device it is bound to, 0 for none", lambda i: i.running.ifindex, kind=Kind.LABEL),
    Field("inode", "the socket's inode", lambda i: i.running.socket.inode, kind=Kind.LABEL),
    Field("cookie", "the kernel's identity of this socket", lambda i: i.running.socket.cookie, kind=Kind.LABEL),
    Field("backlog", "how many connections each of its two queues holds", lambda i: i.running.backlog),
    Field("accept_queue", "finished connections that wait for `accept()`", lambda i: i.running.accept_queue),
    Field("retries", "`TCP_SYNCNT`; null where it is not set", lambda i: i.running.retries, "number or null"),
    Field(
        "release_time_s",
        "when half-open connections are released; null where its options cannot be read",
        lambda i: i.if_known(i.release_time_s),
        "number or null",
        "s",
    ),
    Field(
        "defer_accept_s",
        "`TCP_DEFER_ACCEPT`, 0 is off; null where it cannot be read",
        lambda i: i.if_known(i.running.defer_accept_s),
        "number or null",
        "s",
    ),
    Field(
        "mptcp",
        "whether it also speaks Multipath TCP; null where that cannot be read",
        lambda i: i.if_known(i.running.mptcp),
        "boolean or null",
    ),
    Field(
        "problem",
        "why its options cannot be read",
        lambda i: None if i.running.problem is None else i.running.problem.line(),
        "string or null",
    ),
    Field(
        "processes",
        "`pid`, `name`, `unit`, `container`, `container_name` of each that holds it, as in status",
        lambda i: processes(i.running.processes),
        "array",
    ),
)
