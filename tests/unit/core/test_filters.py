"""Filters against the plain words of ipaddress, and the kernel's bytecode against the filters."""

from __future__ import annotations

import ipaddress
import struct
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from examples import examples
from halfopen.core.filters import Filter
from halfopen.core.units import address_text
from halfopen.wire import inet_diag
from rows import request

QUICK = examples(150)

V4 = st.ip_addresses(v=4).map(str)
V6 = st.ip_addresses(v=6).filter(lambda a: a.ipv4_mapped is None).map(str)
NEAR = st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.1.1", "11.0.0.1", "::1", "2001:db8::1", "2001:db8:0:1::1", "::"])


@st.composite
def rows_(draw: st.DrawFn) -> NDArray[Any]:
    made = []
    for _ in range(draw(st.integers(1, 12))):
        source, local = draw(NEAR | V4 | V6), draw(NEAR | V4 | V6)
        family = 10 if ":" in source + local else draw(st.sampled_from([2, 10]))
        port = draw(st.sampled_from([80, 443]))
        made.append(request(source, local, port, family=family, retransmits=draw(st.integers(0, 5))))
    return np.concatenate(made)


@st.composite
def networks(draw: st.DrawFn) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    address = ipaddress.ip_address(draw(NEAR | V4 | V6))
    lengths = st.sampled_from([0, 1, 8, 31, 32] if address.version == 4 else [0, 1, 32, 63, 64, 65, 96, 127, 128])
    return ipaddress.ip_network(
        (int(address), draw(lengths)) if address.version == 4 else f"{address}/{draw(lengths)}", False
    )


def text(row: Any, side: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(address_text(int(row["family"]), bytes(row[f"{side}_address"])))


def holds(chosen: Filter, row: Any, age: float) -> bool:
    if chosen.older_than_s is not None and age < chosen.older_than_s:
        return False
    if chosen.retransmits is not None and row["retransmits"] < chosen.retransmits:
        return False
    for address, port in chosen.listeners:
        if row["local_port"] != port:
            return False
        if address is not None and not address.is_unspecified and text(row, "local") != address:
            return False
    for network in chosen.sources:
        source = text(row, "remote")
        if source.version != network.version:
            # A v4-mapped source is an IPv6 one too, as the kernel holds it.
            if row["family"] != 10 or network.version != 6:
                return False
            source = ipaddress.IPv6Address(bytes(row["remote_address"]))
        if source not in network:
            return False
    return True


FILTERS = st.builds(
    Filter,
    older_than_s=st.none() | st.sampled_from([0.0, 1.0, 5.0]),
    retransmits=st.none() | st.integers(0, 3),
    listeners=st.lists(
        st.tuples(st.none() | NEAR.map(ipaddress.ip_address), st.sampled_from([80, 443])), max_size=2
    ).map(tuple),
    sources=st.lists(networks(), max_size=2).map(tuple),
)


@QUICK
@given(rows_(), FILTERS, st.data())
def test_all_conditions_must_hold(rows: NDArray[Any], chosen: Filter, data: st.DataObject) -> None:
    ages = np.array([data.draw(st.sampled_from([0.5, 1.0, 6.0])) for _ in rows], dtype=np.float32)
    assert chosen.mask(rows, ages).tolist() == [holds(chosen, r, float(a)) for r, a in zip(rows, ages, strict=True)]


def run_bytecode(code: bytes, row: Any) -> bool:
    """What `inet_diag_bc_run()` says of a socket."""
    at = 0
    family = int(row["family"])
    while at < len(code):
        op, yes, no = struct.unpack_from("=BBH", code, at)
        cond_family, length, port = struct.unpack_from("=BBxxi", code, at + 4)
        wanted = code[at + 12 : at + 12 + {0: 0, 2: 4, 10: 16}[cond_family]]
        side = "local" if op == 7 else "remote"
        ok = port in (-1, int(row[f"{side}_port"]))
        raw = bytes(row[f"{side}_address"])
        if ok and cond_family not in (0, family):
            ok = family == 10 and cond_family == 2 and raw[:12] == bytes(10) + b"\xff\xff"
            raw = raw[12:]
        if ok and length:
            bits = len(wanted) * 8
            ok = int.from_bytes(raw[: len(wanted)]) >> (bits - length) == int.from_bytes(wanted) >> (bits - length)
        at += yes if ok else no
    return at == len(code)


@QUICK
@given(rows_(), FILTERS)
def test_the_kernels_filter_lets_the_same_through(rows: NDArray[Any], chosen: Filter) -> None:
    code = inet_diag.bytecode(chosen.listeners, chosen.sources)
    in_kernel = Filter(listeners=chosen.listeners, sources=chosen.sources)
    mask = in_kernel.mask(rows, np.zeros(len(rows), dtype=np.float32))
    assert [run_bytecode(code, row) for row in rows] == mask.tolist()


def test_words() -> None:
    chosen = Filter(10, 2, ((None, 443),), (ipaddress.IPv4Network("10.0.0.0/8"),))
    assert chosen.describe() == "older than 10 s, with at least 2 retransmits, on :443, from 10.0.0.0/8"
    assert chosen.arguments() == " --listener :443 --source 10.0.0.0/8 --older-than 10s --retransmits 2"
    assert Filter().empty
    assert Filter().describe() == "all"
    assert not Filter(older_than_s=0).empty
