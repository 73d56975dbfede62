"""Every kind of request and listener, with and without CAP_NET_ADMIN, against what `ss` and /proc said of the same."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from halfopen.core.model import columns, join
from halfopen.core.sample import LISTENER, Head
from halfopen.core.units import address_text
from halfopen.core.where import Host, Namespace
from halfopen.wire import inet_diag, netlink, procnet

HERE = Path(__file__).parent
DEVICE = re.compile(r"%[^:\]]+")


def read(name: str) -> memoryview:
    return memoryview((HERE / name).read_bytes())


def ends(row: Any) -> tuple[str, int, str, int]:
    family = int(row["family"])
    local, remote = (address_text(family, bytes(row[f"{side}_address"])) for side in ("local", "remote"))
    return local, int(row["local_port"]), remote, int(row["remote_port"])


def from_ss(text: str) -> tuple[str, int]:
    address, _, port = DEVICE.sub("", text).rpartition(":")
    bare = address.strip("[]").removeprefix("::ffff:")
    return bare, int(port)


def ss_requests() -> dict[int, tuple[tuple[str, int, str, int], int]]:
    """Cookie → both ends and retransmissions."""
    found = {}
    for line in (HERE / "mixed_ss_syn_recv.txt").read_text().splitlines():
        _, _, local, remote, timer, *_ = line.split()
        cookie = re.search(r"sk:([0-9a-f]+)", line)
        assert cookie is not None
        found[int(cookie[1], 16)] = ((*from_ss(local), *from_ss(remote)), int(timer.rstrip(")").rsplit(",")[-1]))
    return found


@pytest.mark.parametrize(("file", "length"), [("mixed_syn_recv.bin", 96), ("mixed_syn_recv_88.bin", 88)])
def test_requests_are_those_of_ss(file: str, length: int) -> None:
    data = read(file)
    assert [stop - start for start, stop, *_ in netlink.messages(data)] == [length] * 11 + [20]
    part = inet_diag.parse_requests(data)
    assert (part.done, part.errno, part.full, part.interrupted) == (True, 0, 0, False)
    found = {int(r["cookie"]): (ends(r), int(r["retransmits"])) for r in part.requests}
    assert found == ss_requests()
    assert len(part.parts) == 1


@pytest.mark.parametrize("file", ["mixed_syn_recv.bin", "mixed_syn_recv_88.bin"])
def test_every_field_stands_where_the_header_file_says(file: str) -> None:
    data = read(file)
    rows = iter(inet_diag.parse_requests(data).requests)
    for start, stop, *_ in netlink.messages(data):
        if stop - start < 88:
            continue
        row = next(rows)
        family, state, timer, retransmits, sport, dport = struct.unpack_from(">BBBBHH", data, start + 16)
        ifindex, cookie, expires, rqueue, wqueue, uid, inode = struct.unpack_from("=IQIIIII", data, start + 56)
        assert (rqueue, wqueue, uid, inode) == (0, 0, 0, 0)
        assert [int(row[n]) for n in ("family", "state", "timer", "retransmits")] == [family, state, timer, retransmits]
        assert (int(row["local_port"]), int(row["remote_port"])) == (sport, dport)
        assert bytes(row["local_address"]) == data[start + 24 : start + 40]
        assert bytes(row["remote_address"]) == data[start + 40 : start + 56]
        assert (int(row["ifindex"]), int(row["cookie"]), int(row["expires_ms"])) == (ifindex, cookie, expires)
        assert int(row["remote_v4"]) == int.from_bytes(data[start + 40 : start + 44])
        assert int(row["remote_high"]) << 64 | int(row["remote_low"]) == int.from_bytes(data[start + 40 : start + 56])
        assert int(row["local_high"]) << 64 | int(row["local_low"]) == int.from_bytes(data[start + 24 : start + 40])
    assert next(rows, None) is None


def test_with_and_without_the_capability_it_is_the_same_but_for_the_time() -> None:
    one, other = (
        np.sort(inet_diag.parse_requests(read(f)).requests, order="cookie")
        for f in ("mixed_syn_recv.bin", "mixed_syn_recv_88.bin")
    )
    for name in ("family", "retransmits", "local_port", "remote_port", "local_address", "remote_address", "ifindex"):
        assert (one[name] == other[name]).all(), name
    passed = one["expires_ms"].astype(int) - other["expires_ms"]
    assert passed.min() >= 0
    assert passed.max() < 500


def test_proc_says_the_same() -> None:
    parsed = [procnet.parse_tcp(read(f"mixed_{name}.txt").tobytes()) for name in ("tcp", "tcp6")]
    rows = np.concatenate([p[0] for p in parsed])
    netlink_rows = inet_diag.parse_requests(read("mixed_syn_recv.bin")).requests
    assert sorted(map(ends, rows)) == sorted(map(ends, netlink_rows))
    # /proc counts timeouts; the deferred ones differ from the retransmissions by the one nobody saw.
    counts = {ends(r): int(r["retransmits"]) for r in rows}
    differ = [ends(r) for r in netlink_rows if counts[ends(r)] != r["retransmits"]]
    assert sorted(e[1] for e in differ) == [8082, 8082]
    listeners = np.concatenate([p[1] for p in parsed])
    accept = dict(zip(listeners["port"].tolist(), listeners["accept_queue"].tolist(), strict=True))
    assert accept == {8080: 0, 8081: 0, 8082: 0, 8083: 3, 8084: 0, 8085: 0, 8086: 0}
    assert sum(p[2] for p in parsed) == 0  # the established ones are not full sockets in SYN_RECV


@pytest.mark.parametrize("file", ["mixed_listen.bin", "mixed_listen_plain.bin"])
def test_listeners_are_those_of_ss(file: str) -> None:
    part = inet_diag.parse_listeners(read(file))
    assert (part.done, part.errno, part.interrupted) == (True, 0, False)
    assert part.listeners.dtype == LISTENER
    found = sorted(
        (int(r["inode"]), int(r["port"]), int(r["accept_queue"]), int(r["accept_queue_limit"]), int(r["drops"]))
        for r in part.listeners
    )
    lines = (HERE / "mixed_ss_listen.txt").read_text().splitlines()
    wanted = []
    for line, memory in zip(lines[::2], lines[1::2], strict=True):
        _, queue, limit, local, *_ = line.split()
        inode, drops = re.search(r"ino:(\d+)", line), re.search(r",d(\d+)\)", memory)
        assert inode is not None
        assert drops is not None
        wanted.append((int(inode[1]), int(local.rpartition(":")[2]), int(queue), int(limit), int(drops[1])))
    assert found == sorted(wanted)
    by_port = {int(r["port"]): r for r in part.listeners}
    assert {port for port, r in by_port.items() if r["v6only"]} == {8084}
    assert {port for port, r in by_port.items() if r["ifindex"]} == {8085}
    assert {port for port, r in by_port.items() if r["family"] == 10} == {8081, 8084}


def test_joined_and_told_apart() -> None:
    requests = inet_diag.parse_requests(read("mixed_syn_recv.bin")).requests
    listeners = inet_diag.parse_listeners(read("mixed_listen.bin")).listeners
    builder = columns.Builder()
    builder.begin(listeners)
    builder.add(requests)
    told = builder.take()
    is_deferred, _ = columns.settle(
        told,
        Head(where=Namespace("boot", 1), host=Host("host", "6.1"), listeners=listeners, monotonic_s=0.0, wall_s=0.0),
    )
    assert join.NONE not in told.group_of
    assert [told.groups[i].port for i in told.group_of] == requests["local_port"].tolist()
    assert sorted(requests["local_port"][is_deferred].tolist()) == [8082, 8082]
    assert [len(g.rows) for g in told.groups if g.port == 8086] == [2]
    old = told.ages_s[(requests["retransmits"] == 1) & ~is_deferred]
    assert len(old) == 8
    assert old.min() >= 1.0
    assert old.max() < 1.5
