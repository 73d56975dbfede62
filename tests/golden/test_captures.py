"""Captured bytes in, records out: what a 6.18 kernel answered (capture.py made them)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from halfopen.core.units import address_text
from halfopen.wire import inet_diag, netlink, procnet

HERE = Path(__file__).parent
TRUTH = [tuple(row) for row in json.loads((HERE / "truth.json").read_text())]


def sources(rows: NDArray[Any]) -> list[tuple[str, int]]:
    return sorted((address_text(int(r["family"]), bytes(r["remote_address"])), int(r["remote_port"])) for r in rows)


def test_request_sockets_by_netlink() -> None:
    part = inet_diag.parse_requests(memoryview((HERE / "syn_recv.bin").read_bytes()))
    assert (part.done, part.errno, part.full, part.interrupted) == (True, 0, 0, False)
    rows = part.requests
    assert sources(rows) == TRUTH
    assert sorted(rows["local_port"].tolist()) == [8080] * 5 + [8081] * 10
    assert sorted(rows["family"].tolist()) == [2] * 5 + [10] * 10
    assert set(rows["state"].tolist()) == {inet_diag.TCP_SYN_RECV}
    assert set(rows["retransmits"].tolist()) == {0}
    assert rows["expires_ms"].max() <= 1000
    assert len(set(rows["cookie"].tolist())) == 15


def test_the_same_without_cap_net_admin() -> None:
    """Without the capability the kernel leaves out INET_DIAG_MARK: the same records, 88 bytes each."""
    whole = memoryview((HERE / "syn_recv.bin").read_bytes())
    shorter = b""
    for start, stop, type_, flags, seq, _ in netlink.messages(whole):
        payload = bytes(whole[start + 16 : stop])
        shorter += netlink.message(type_, flags, seq, payload[:72] if stop - start == 96 else payload)
    a, b = inet_diag.parse_requests(whole).requests, inet_diag.parse_requests(memoryview(shorter)).requests
    assert (a == b).all()


@pytest.mark.parametrize("at_a_time", [1, 2, procnet._MANY])
def test_request_sockets_by_proc(monkeypatch: pytest.MonkeyPatch, at_a_time: int) -> None:
    monkeypatch.setattr(procnet, "_MANY", at_a_time)
    both = [procnet.parse_tcp((HERE / f"{name}.txt").read_bytes()) for name in ("tcp", "tcp6")]
    rows = np.concatenate([b[0] for b in both])
    assert sources(rows) == TRUTH
    assert [b[2] for b in both] == [0, 0]
    assert sorted(p for b in both for p in b[1]["port"].tolist()) == [8080, 8081]


def test_listeners() -> None:
    part = inet_diag.parse_listeners(memoryview((HERE / "listen.bin").read_bytes()))
    assert part.done
    rows = np.sort(part.listeners, order="port")
    assert rows["port"].tolist() == [8080, 8081]
    assert rows["family"].tolist() == [2, 10]
    assert rows["v6only"].tolist() == [False, False]
    assert rows["accept_queue_limit"].tolist() == [128, 128]
    assert rows["accept_queue"].tolist() == rows["drops"].tolist() == [0, 0]
    assert (rows["inode"] > 0).all()


@pytest.mark.parametrize(
    ("file", "names"),
    [("snmp", ["PassiveOpens", "OutRsts", "CurrEstab"]), ("netstat", ["ListenDrops", "SyncookiesSent"])],
)
def test_counters(file: str, names: list[str]) -> None:
    data = (HERE / f"{file}.txt").read_bytes()
    counters = procnet.parse_counters(data)
    first = "ListenOverflows"
    assert procnet.parse_counter(data, first) == (counters[first] if file == "netstat" else None)
    assert [counters[name] for name in names] == [0] * len(names)
    assert "InReceives" not in counters  # of the Ip table
