"""inet_diag (linux/inet_diag.h, net/ipv4/inet_diag.c): dump requests, socket filters, records.

A request socket is sent as one `inet_diag_msg` of 72 bytes, followed by an INET_DIAG_MARK attribute when the reader has
CAP_NET_ADMIN: 88 or 96 bytes with the netlink header. Full sockets always carry INET_DIAG_SHUTDOWN, so the two are told
apart by what follows, also where a full socket has no inode yet (a Fast Open child before accept()).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from msgspec import Struct, field
from numpy.typing import NDArray

from halfopen.core.addresses import AF_INET, AF_INET6
from halfopen.core.errors import WireError
from halfopen.core.sample import LISTENER, REQUEST
from halfopen.core.sample.growing import plain
from halfopen.core.units import Address, Endpoint, Network
from halfopen.wire import netlink

TCPDIAG_GETSOCK: Final = 18
SOCK_DIAG_BY_FAMILY: Final = 20
SOCK_DESTROY: Final = 21
IPPROTO_TCP: Final = 6

TCP_ESTABLISHED: Final = 1
TCP_SYN_RECV: Final = 3
TCP_LISTEN: Final = 10

INET_DIAG_REQ_BYTECODE: Final = 1
INET_DIAG_SKMEMINFO: Final = 7
INET_DIAG_SHUTDOWN: Final = 8
INET_DIAG_SKV6ONLY: Final = 11
INET_DIAG_MARK: Final = 15
_IPPROTO_MPTCP: Final = 262
_REQ_PROTOCOL: Final = 3
SK_MEMINFO_DROPS: Final = 8
# INET_DIAG_NOCOOKIE, both halves: any socket will do.
NO_COOKIE: Final = 0xFFFFFFFFFFFFFFFF

_BC_S_COND: Final = 7
_BC_D_COND: Final = 8
_ANY_PORT: Final = -1
# An attribute's length and a jump's are 16 bits; this many conditions of the longest kind stay far below.
MAX_CONDITIONS: Final = 256

MSG_SIZE: Final = 72
HEAD_AT: Final = netlink.HEADER.size
RECORD: Final = HEAD_AT + MSG_SIZE
_TAIL: Final = struct.Struct("=IIIII")  # expires, rqueue, wqueue, uid, inode
INODE: Final = struct.Struct("=I")
KIND: Final = struct.Struct("=Q")
_MARK_HEADER: Final = 8 | INET_DIAG_MARK << 16
# Runs are looked at through windows that grow while the records stay alike, so that a stream of unlike ones stays
# linear.
_FIRST_WINDOW: Final = 64


def dump_request(states: int, *, extensions: int = 0, bytecode: bytes = b"", seq: int = 1) -> bytes:
    """Ask for every TCP socket, IPv4 and IPv6 in one walk, whose state is in the bit mask `states`.

    Source: `inet_diag_rcv_msg_compat()`; `extensions` has bit (INET_DIAG_x - 1) for each attribute wanted, at most 8.
    """
    payload = struct.pack("=BBBB48xII", 0, 0, 0, extensions, states, 0)
    if bytecode:
        payload += netlink.attribute(INET_DIAG_REQ_BYTECODE, bytecode)
    return netlink.message(TCPDIAG_GETSOCK, netlink.NLM_F_REQUEST | netlink.NLM_F_DUMP, seq, payload)


def mptcp_request(family: int, states: int, seq: int = 1) -> bytes:
    """Ask for the MPTCP sockets of a family in these states, which a dump of TCP sockets does not tell apart.

    Source: `mptcp_diag_dump()`; the number of the protocol does not fit into the request (`inet_diag_dump_compat()`).
    """
    payload = struct.pack("=BBBxI48x", family, _IPPROTO_MPTCP & 0xFF, 0, states)
    payload += netlink.attribute(_REQ_PROTOCOL, struct.pack("=I", _IPPROTO_MPTCP))
    return netlink.message(SOCK_DIAG_BY_FAMILY, netlink.NLM_F_REQUEST | netlink.NLM_F_DUMP, seq, payload)


def _host_condition(op: int, address: Address | None, prefix_length: int, port: int) -> bytes:
    packed = b"" if address is None else address.packed
    family = 0 if address is None else (AF_INET if address.version == 4 else AF_INET6)
    return struct.pack("=BxxxBBxxi", op, family, prefix_length, port) + packed


def bytecode(listeners: Sequence[Endpoint], sources: Sequence[Network]) -> bytes:
    """A filter the kernel runs before it copies a socket: every listener endpoint and every source prefix must hold.

    Addresses match v4-mapped sockets too; a wildcard address stands for any. It carries MAX_CONDITIONS different ones
    at most, so what comes through must meet `core.filters.Filter` as well. Source: `inet_diag_bc_run()`.
    """
    conditions = []
    for address, port in listeners:
        if address is None or address.is_unspecified:
            conditions.append(_host_condition(_BC_S_COND, None, 0, port))
        else:
            conditions.append(_host_condition(_BC_S_COND, address, address.max_prefixlen, port))
    for network in sources:
        conditions.append(_host_condition(_BC_D_COND, network.network_address, network.prefixlen, _ANY_PORT))
    conditions = list(dict.fromkeys(conditions))[:MAX_CONDITIONS]
    rest = sum(len(c) for c in conditions)
    code = b""
    for c in conditions:
        # Failing jumps four bytes past the end, which is "no"; running off the end exactly is "yes".
        code += c[:1] + struct.pack("=BH", len(c), rest + 4) + c[4:]
        rest -= len(c)
    return code


class Slice(Struct):
    """What one stretch of a dump held.

    `parts` are runs of dtype REQUEST, views of the bytes read; `full` counts full sockets in SYN_RECV; `done` says the
    dump ended here, with `errno` if it ended in an error; `interrupted` that the kernel flagged the dump as
    inconsistent.
    """

    parts: list[NDArray[Any]] = field(default_factory=list)
    full: int = 0
    done: bool = False
    interrupted: bool = False
    errno: int = 0

    @property
    def requests(self) -> NDArray[Any]:
        """All request sockets of the stretch, (N,) REQUEST."""
        if len(self.parts) == 1:
            return self.parts[0]
        if not self.parts:
            return np.empty(0, dtype=REQUEST)
        return np.concatenate([plain(rows) for rows in self.parts]).view(REQUEST)


def _run_dtype(length: int) -> np.dtype[Any]:
    # `alike` is length, type and flags in one word; `kind` is inode and the header of the first attribute in one.
    names: list[str] = ["alike", "head"]
    formats: list[str] = ["<u8", f"V{REQUEST.itemsize}"]
    offsets: list[int] = [0, HEAD_AT]
    if length == RECORD:
        names, formats, offsets = [*names, "kind"], [*formats, "<u4"], [*offsets, RECORD - 4]
    elif length == RECORD + 8:
        names, formats, offsets = [*names, "kind"], [*formats, "<u8"], [*offsets, RECORD - 4]
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": length})


_RUNS: Final = {length: _run_dtype(length) for length in (RECORD, RECORD + 8)}
REQUEST_KIND: Final = {RECORD: 0, RECORD + 8: _MARK_HEADER << 32}


def parse_requests(data: memoryview) -> Slice:
    """Read a stretch of a SYN_RECV dump: whole messages, records alike in length as one view, others one by one.

    Raises: WireError for bytes that are no such messages.
    """
    result = Slice()
    offset = 0
    window = _FIRST_WINDOW
    end = len(data)
    while offset < end:
        start, stop, type_, flags, _, _ = next(netlink.messages(data, offset))
        if flags & netlink.NLM_F_DUMP_INTR:
            result.interrupted = True
        if type_ in (netlink.NLMSG_DONE, netlink.NLMSG_ERROR):
            result.done = True
            result.errno = netlink.error_code(data, start, stop)
            break
        if type_ == netlink.NLMSG_OVERRUN:
            result.interrupted = True
        elif type_ in (TCPDIAG_GETSOCK, SOCK_DIAG_BY_FAMILY):
            length = stop - start
            if length in _RUNS:
                taken = _take_run(data, start, length, window, result)
                window = window * 2 if taken == window else _FIRST_WINDOW
                offset = start + taken * length
                continue
            _take_one(data, start, stop, result)
        elif type_ != netlink.NLMSG_NOOP:
            raise WireError(f"unexpected message type {type_}", start)
        offset = netlink.align(stop)
    return result


def _take_run(data: memoryview, start: int, length: int, window: int, result: Slice) -> int:
    """Take as many records like the first as follow, `window` at most; returns how many (at least one)."""
    count = min((len(data) - start) // length, window)
    view: NDArray[Any] = np.ndarray((count,), dtype=_RUNS[length], buffer=data, offset=start)
    alike = view["alike"] == view["alike"][0]
    if not alike.all():
        count = int(np.argmin(alike))
        view = view[:count]
    is_request = view["kind"] == REQUEST_KIND[length]
    if not is_request.all():
        result.full += int(count - np.count_nonzero(is_request))
        view = view[is_request]
    if view.size:
        result.parts.append(view["head"].view(REQUEST))
    return count


def _take_one(data: memoryview, start: int, stop: int, result: Slice) -> None:
    if stop - start < RECORD:
        raise WireError(f"inet_diag record of {stop - start} bytes", start)
    inode = _TAIL.unpack_from(data, start + RECORD - _TAIL.size)[4]
    kinds = [kind for kind, _, _ in netlink.attribute_places(data, start + RECORD, stop)]
    if inode or INET_DIAG_SHUTDOWN in kinds:
        result.full += 1
    else:
        result.parts.append(np.frombuffer(data, dtype=REQUEST, count=1, offset=start + HEAD_AT))


class ListenerSlice(Struct):
    """Listeners of one stretch of a LISTEN dump; `listeners` has dtype LISTENER."""

    listeners: NDArray[Any]
    done: bool = False
    interrupted: bool = False
    errno: int = 0


def parse_listeners(data: memoryview) -> ListenerSlice:
    """Read a stretch of a LISTEN dump made with INET_DIAG_SKMEMINFO. Raises: WireError."""
    result = ListenerSlice(np.empty(0, dtype=LISTENER))
    by_length = _by_length(data, result)
    parts = [_listener_rows(data, starts, length) for length, starts in by_length.items()]
    if parts:
        # In the order of the dump again.
        order = np.argsort(np.concatenate(list(by_length.values())), kind="stable")
        result.listeners = np.concatenate(parts)[order]
    return result


def _by_length(data: memoryview, result: ListenerSlice | SocketSlice) -> dict[int, list[int]]:
    """Where the messages of sockets begin in a stretch, by their length; what else the dump says goes to `result`."""
    by_length: dict[int, list[int]] = {}
    offset, window = 0, _FIRST_WINDOW
    while offset < len(data):
        start, stop, type_, flags, _, _ = next(netlink.messages(data, offset))
        offset = netlink.align(stop)
        if flags & netlink.NLM_F_DUMP_INTR or type_ == netlink.NLMSG_OVERRUN:
            result.interrupted = True
        if type_ in (netlink.NLMSG_DONE, netlink.NLMSG_ERROR):
            result.done = True
            result.errno = netlink.error_code(data, start, stop)
            break
        if type_ in (TCPDIAG_GETSOCK, SOCK_DIAG_BY_FAMILY):
            if stop - start < RECORD:
                raise WireError(f"inet_diag record of {stop - start} bytes", start)
            # Nearly all are alike: the next ones with the very same length, type and flags are taken with it.
            step = offset - start
            count = _alike(data, start, step, window)
            window = window * 2 if count == window else _FIRST_WINDOW
            by_length.setdefault(stop - start, []).extend(range(start, start + count * step, step))
            offset = start + count * step
        elif type_ not in (netlink.NLMSG_NOOP, netlink.NLMSG_OVERRUN):
            raise WireError(f"unexpected message type {type_}", start)
    return by_length


class SocketSlice(Struct):
    """The sockets of one stretch of a dump, of whatever state; `heads` (n,) has the fields of REQUEST."""

    heads: NDArray[Any]
    done: bool = False
    interrupted: bool = False
    errno: int = 0


def parse_sockets(data: memoryview) -> SocketSlice:
    """Read who is connected to whom from a stretch of a dump of any sockets. Raises: WireError."""
    result = SocketSlice(np.empty(0, dtype=REQUEST))
    parts = [_heads(_messages(data, starts, length)) for length, starts in _by_length(data, result).items()]
    if parts:
        result.heads = np.concatenate(parts)
    return result


def _heads(raw: NDArray[np.uint8]) -> NDArray[Any]:
    heads: NDArray[Any] = np.ascontiguousarray(raw[:, HEAD_AT : HEAD_AT + REQUEST.itemsize]).view(REQUEST)[:, 0]
    return heads


def _alike(data: memoryview, start: int, step: int, window: int) -> int:
    """How many messages from `start` on, `step` bytes apart and `window` at most, are as long and of the same type and
    flags as the first; at least one.
    """
    count = min((len(data) - start) // step, window)
    if count < 2:
        return 1
    heads: NDArray[Any] = np.ndarray((count,), dtype="<u8", buffer=data, offset=start, strides=(step,))
    alike = heads == heads[0]
    return count if alike.all() else int(np.argmin(alike))


def _messages(data: memoryview, starts: list[int], length: int) -> NDArray[np.uint8]:
    """The bytes of messages of one length, (n, length); without a copy where they lie evenly."""
    at = np.array(starts, dtype=np.intp)
    gaps = np.diff(at)
    if len(gaps) and (gaps == gaps[0]).all():
        strides = (int(gaps[0]), 1)
        return np.ndarray((len(at), length), dtype=np.uint8, buffer=data, offset=starts[0], strides=strides)
    found: NDArray[np.uint8] = np.frombuffer(data, dtype=np.uint8)[at[:, None] + np.arange(length)]
    return found


def _listener_rows(data: memoryview, starts: list[int], length: int) -> NDArray[Any]:
    """The listeners of messages of one length, (n,) LISTENER; a few numpy calls for all whose attributes lie alike."""
    raw = _messages(data, starts, length)
    rows = np.zeros(len(starts), dtype=LISTENER)
    head = _heads(raw)
    tail = np.ascontiguousarray(raw[:, RECORD - _TAIL.size : RECORD]).view("=u4")
    for ours, theirs in (("family", "family"), ("port", "local_port"), ("ifindex", "ifindex"), ("cookie", "cookie")):
        rows[ours] = head[theirs]
    rows["address"] = head["local_address"]
    for name, column in (("accept_queue", 1), ("accept_queue_limit", 2), ("uid", 3), ("inode", 4)):
        rows[name] = tail[:, column]
    left = np.ones(len(starts), dtype=bool)
    while left.any():
        # All that have the same attributes in the same places as the first that is left.
        first = int(np.argmax(left))
        places = netlink.attribute_places(data, starts[first] + RECORD, starts[first] + length)
        alike = left.copy()
        for _, place, _ in places:
            header = slice(place - starts[first] - 4, place - starts[first])
            alike &= (raw[:, header] == raw[first, header]).all(axis=1)
        alike[first] = True
        for kind, place, size in places:
            offset = place - starts[first]
            if kind == INET_DIAG_SKMEMINFO and size >= 4 * (SK_MEMINFO_DROPS + 1):
                where = offset + 4 * SK_MEMINFO_DROPS
                rows["drops"][alike] = np.ascontiguousarray(raw[alike, where : where + 4]).view("=u4")[:, 0]
                rows["drops_known"][alike] = True
            elif kind == INET_DIAG_SKV6ONLY and size >= 1:
                rows["v6only"][alike] = raw[alike, offset] != 0
        left &= ~alike
    return rows
