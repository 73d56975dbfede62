"""Half-open connections of made-up hosts, and hosts that finish or only ask."""

from __future__ import annotations

from typing import Any

from halfopen.core.sample.arrivals import Arrivals
from rows import request
from verdicts import arrivals

PROXY = "198.18.0.1"


def from_hosts(hosts: list[str], each: int, **values: Any) -> list[Any]:
    """Each host with so many requests that last."""
    made = [(host, i) for host in hosts for i in range(each)]
    given = {"retransmits": 2, "expires_ms": 500, **values}
    return [request(host, source_port=1024 + i, cookie=n + 1, **given) for n, (host, i) in enumerate(made)]


def honest(n: int = 20) -> dict[str, dict[str, int]]:
    """Clients elsewhere that finish."""
    return {f"99.1.{i}.1": {"syns": 2, "finished": 2} for i in range(n)}


def asked(*hosts: str) -> dict[str, dict[str, int]]:
    """What strangers send."""
    return {host: {"syns": 20} for host in hosts}


def late(n: int, of: int) -> Arrivals:
    """One prefix where so many of its handshakes finish late, beside others in time."""
    ill = {f"10.9.{i}.7": {"syns": 2, "finished": 1, "late": int(i < n)} for i in range(of)}
    return arrivals({**honest(), **ill})
