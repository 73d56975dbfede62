"""Open and closing connections as a Sample has them, made up."""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec.structs import replace

from halfopen.core.findings.evidence import Evidence
from halfopen.core.model.model import build
from halfopen.core.sample import LISTENER, Process, Sample
from halfopen.core.sample.closing import CLOSE_WAIT, SOCKET, OpenSockets
from halfopen.core.where import Host, Namespace

PEER = 0x0A000005
PID = 4711
ROOM = {"ip_local_port_range": "32768 60999", "tcp_mem": "1000 10000 20000", "tcp_fin_timeout": "60"}


def sockets(*rows: dict[str, Any], at_s: float = 100.0, pids: int = PID, **settings: str) -> OpenSockets:
    """A part with these rows; unless given, CLOSE_WAIT of a process towards 10.0.0.5:5432, the FIN unread, 20 s old."""
    made = np.zeros(len(rows), dtype=SOCKET)
    for i, row in enumerate(rows):
        usual = {
            "state": CLOSE_WAIT,
            "remote": PEER,
            "remote_port": 5432,
            "local": 0x0A000001,
            "local_port": 40_000 + i,
            "inode": 1000 + i,
            "received_ms": 20_000,
            "sent_ms": 20_000,
            "heard_ms": 20_000,
            "unread": 1,
            "pages": 1,
        }
        for name, value in {**usual, **row}.items():
            made[name][i] = value
    owners = np.where(made["inode"] != 0, pids, 0).astype(np.uint32)
    return OpenSockets(
        made,
        np.empty(0, dtype=[("remote", "V16"), ("local", "V16")]),
        "walk",
        at_s,
        pids=owners,
        processes={PID: Process(PID, "java", "app.service")},
        open_files={PID: (200, 1024)},
        settings={**ROOM, **settings},
    )


def aged(ages_s: list[float], **more: Any) -> list[dict[str, Any]]:
    """A row for each age."""
    return [{"heard_ms": int(s * 1000), "received_ms": int(s * 1000), "sent_ms": int(s * 1000), **more} for s in ages_s]


def evidence(
    now: OpenSockets,
    before: OpenSockets | None = None,
    *,
    ports: tuple[int, ...] = (),
    counters: tuple[dict[str, int], dict[str, int]] = ({}, {}),
) -> Evidence:
    """The evidence of one look, or of two. counters: of the last one, and of the one before."""
    listeners = np.zeros(len(ports), dtype=LISTENER)
    listeners["port"], listeners["family"] = ports, 2
    sample = Sample(
        where=Namespace("boot", 1),
        host=Host("host", "6.1"),
        listeners=listeners,
        monotonic_s=now.looked_at_s,
        wall_s=1e9,
        parts=(now,),
        counters=counters[0],
    )
    if before is None:
        return Evidence(build(sample))
    earlier = replace(sample, monotonic_s=before.looked_at_s, parts=(before,), counters=counters[1])
    return Evidence(build(sample, earlier), build(earlier))
