"""No bytes make the codecs raise anything but their own error, loop or read past the end."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples import examples
from halfopen.core.errors import WireError
from halfopen.core.sample import REQUEST
from halfopen.wire import exact_sockets, inet_diag, netlink, procnet

GOLDEN = Path(__file__).parents[1] / "golden"
QUICK = examples(200)
SECONDS = 2.0  # of a processor


def assert_one_line(error: WireError) -> None:
    assert "\n" not in error.line()


def only_its_own_error(parse: Callable[[Any], Any], data: Any) -> Any:
    begun = time.thread_time()
    try:
        return parse(data)
    except WireError as e:
        assert_one_line(e)
        return None
    finally:
        assert time.thread_time() - begun < SECONDS


def everything(data: bytes) -> None:
    view = memoryview(data)
    only_its_own_error(lambda v: list(netlink.messages(v)), view)
    only_its_own_error(lambda v: netlink.attribute_places(v, 0, len(v)), view)
    only_its_own_error(inet_diag.parse_requests, view)
    only_its_own_error(inet_diag.parse_listeners, view)
    only_its_own_error(exact_sockets.destroy_errors, view)
    exact_sockets.still_half_open(bytearray(data), len(data))
    only_its_own_error(procnet.parse_tcp, data)
    only_its_own_error(procnet.parse_counters, data)
    assert procnet.parse_counter(data, "ListenOverflows") is None or b"ListenOverflows" in data


@QUICK
@given(st.binary(max_size=512))
def test_any_bytes(data: bytes) -> None:
    everything(data)


NLM_F_MULTI = 0x2  # set in every message of a dump; no parser asks for it


def captured() -> list[bytes]:
    return [p.read_bytes() for p in sorted(GOLDEN.glob("*.bin")) + sorted(GOLDEN.glob("*.txt"))]


@pytest.mark.parametrize("whole", captured(), ids=lambda d: f"{len(d)} bytes")
@QUICK
@given(data=st.data())
def test_damaged_captures(whole: bytes, data: st.DataObject) -> None:
    damaged = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for _ in range(data.draw(st.integers(0, 6))):
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    everything(bytes(damaged))


def message(type_: int, payload: bytes, flags: int = NLM_F_MULTI) -> bytes:
    return netlink.message(type_, flags, 1, payload)


def head(port: int, inode: int = 0) -> bytes:
    """An inet_diag_msg of a SYN_RECV socket with this remote port."""
    sockid = struct.pack(">HH16s16s", 8080, port, bytes(16), bytes(16)) + struct.pack("=IQ", 0, port)
    return struct.pack("=BBBB", 2, 3, 1, 0) + sockid + struct.pack("=IIIII", 1000, 0, 0, 0, inode)


MARK = netlink.attribute(inet_diag.INET_DIAG_MARK, bytes(4))
SHUTDOWN = netlink.attribute(inet_diag.INET_DIAG_SHUTDOWN, b"\0")
KINDS: dict[str, tuple[Callable[[int], bytes], bool]] = {
    "88 bytes": (lambda p: message(20, head(p)), True),
    "96 bytes": (lambda p: message(18, head(p) + MARK), True),
    "full": (lambda p: message(20, head(p, inode=7) + SHUTDOWN + MARK), False),
    "full, 96 bytes": (lambda p: message(20, head(p) + SHUTDOWN), False),
    "full, 88 bytes": (lambda p: message(20, head(p, inode=7)), False),
    "noop": (lambda p: message(netlink.NLMSG_NOOP, b"\0" * (p % 40)), False),
}


@QUICK
@given(st.lists(st.tuples(st.sampled_from(sorted(KINDS)), st.integers(1, 300)), max_size=12), st.data())
def test_any_mix_of_records_in_any_pieces(runs: list[tuple[str, int]], data: st.DataObject) -> None:
    messages, wanted, full, port = [], [], 0, 0
    for kind, count in runs:
        make, is_request = KINDS[kind]
        for _ in range(count):
            port += 1
            messages.append(make(port % 65536))
            wanted += [port % 65536] if is_request else []
            full += kind.startswith("full")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(messages)), max_size=5)))
    got: list[int] = []
    fulls = 0
    for a, b in zip([0, *cuts], [*cuts, len(messages)], strict=True):
        part = inet_diag.parse_requests(memoryview(b"".join(messages[a:b])))
        assert not part.done
        fulls += part.full
        got += part.requests["remote_port"].tolist()
    assert got == wanted
    assert fulls == full


def test_done_and_interrupted_are_seen() -> None:
    done = message(netlink.NLMSG_DONE, struct.pack("=i", 0))
    refused = message(netlink.NLMSG_DONE, struct.pack("=i", -1))
    shaken = message(20, head(1), NLM_F_MULTI | netlink.NLM_F_DUMP_INTR)
    part = inet_diag.parse_requests(memoryview(shaken + done + shaken))
    assert (part.done, part.errno, part.interrupted, len(part.requests)) == (True, 0, True, 1)
    assert inet_diag.parse_requests(memoryview(refused)).errno == 1
    assert inet_diag.parse_listeners(memoryview(shaken + refused)).interrupted


def test_unlike_records_stay_linear() -> None:
    """Eight times as many take about eight times as long, not sixty-four."""
    mixed = message(20, head(1)) + message(20, head(2) + MARK)

    def took(pairs: int) -> float:
        data = memoryview(mixed * pairs)
        begun = time.thread_time()
        assert len(inet_diag.parse_requests(data).requests) == 2 * pairs
        return time.thread_time() - begun

    assert min(took(8000) for _ in range(2)) < 24 * max(took(1000) for _ in range(3))


@QUICK
@given(st.lists(st.tuples(st.sampled_from([2, 10]), st.integers(0, 2**64 - 1), st.integers(0, 65535)), max_size=50))
def test_destroy_takes_back_the_kernels_own_bytes(rows: list[tuple[int, int, int]]) -> None:
    requests = np.zeros(len(rows), dtype=REQUEST)
    for i, (family, cookie, port) in enumerate(rows):
        requests[i]["family"], requests[i]["cookie"], requests[i]["remote_port"] = family, cookie, port
    batch = exact_sockets.destroy_requests(requests)
    found = list(netlink.messages(memoryview(batch)))
    assert [seq for *_, seq, _ in found] == list(range(1, len(rows) + 1))
    for (start, stop, type_, flags, _, _), row in zip(found, requests, strict=True):
        assert (stop - start, type_, flags) == (72, inet_diag.SOCK_DESTROY, netlink.NLM_F_REQUEST)
        assert batch[start + 16] == row["family"]
        assert batch[start + 17] == inet_diag.IPPROTO_TCP
        assert batch[start + 24 : start + 72] == row.tobytes()[4:52]
