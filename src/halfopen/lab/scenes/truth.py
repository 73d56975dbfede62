"""The truth about a scene: measured by its clients, its server and the kernel, not taken from what was asked for."""

from __future__ import annotations

import ipaddress
from typing import Any

from msgspec import Struct, field, to_builtins


class Stream(Struct, frozen=True):
    """Real clients of one kind. prefixes: where they come from, with the handshakes finished from each.

    started, connected, failed: connections. p50_s, max_s: how long a handshake took, seen by the client (`p50_s` up to
    a factor of two); 0 when none finished. late_ms: how far the clients fell behind their rate.
    """

    target: str
    port: int
    prefixes: dict[str, int]
    honest: bool
    started: int
    connected: int
    failed: int
    p50_s: float
    max_s: float
    late_ms: int


class Silent(Struct, frozen=True):
    """SYNs of no client. kind: spoofed, few, prefix, scan, or acked (their SYN-ACKs were acknowledged). prefixes: the
    sources, none when they are spoofed.
    """

    kind: str
    ports: tuple[int, ...]
    prefixes: tuple[str, ...]
    sent: int


class Served(Struct, frozen=True):
    """A listener. accepted: by worker. cap: of each member's accept queue. queue: of each member, now."""

    address: str
    port: int
    pids: tuple[int, ...]
    accepted: tuple[int, ...]
    cap: int
    queue: tuple[int, ...]


class Truth(Struct, frozen=True):
    """A scene at a moment, `seconds` after it was ready.

    causes: the finding ids that are right, none where nothing is wrong; also: others that are true beside them.
    counters: how far the server's kernel counters moved since the scene began. half_open: request sockets now.
    """

    scene: str
    seed: int
    causes: tuple[str, ...]
    also: tuple[str, ...]
    seconds: float
    streams: tuple[Stream, ...] = ()
    silent: tuple[Silent, ...] = ()
    served: tuple[Served, ...] = ()
    counters: dict[str, int] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    half_open: int = 0
    wire_late_s: float = 0.0
    wire_refused: int = 0

    @property
    def hostile(self) -> bool:
        """Whether there are SYNs whose senders will never complete the handshake."""
        return any(silent.sent for silent in self.silent)

    def completes(self, prefix: str) -> int:
        """How many handshakes finished of real clients whose prefix overlaps this one."""
        asked = ipaddress.ip_network(prefix, strict=False)
        return sum(
            n
            for stream in self.streams
            for net, n in stream.prefixes.items()
            if (there := ipaddress.ip_network(net)).version == asked.version and there.overlaps(asked)
        )

    def as_json(self) -> dict[str, Any]:
        """The truth as JSON carries it."""
        made: dict[str, Any] = to_builtins(self)
        return made
