"""inet_diag (linux/inet_diag.h, net/ipv4/inet_diag.c): dump requests, socket filters, records.

A request socket is sent as one `inet_diag_msg` of 72 bytes, followed by an INET_DIAG_MARK attribute when the reader has
CAP_NET_ADMIN: 88 or 96 bytes with the netlink header. Full sockets always have the attribute INET_DIAG_SHUTDOWN, which
distinguishes them even if they have no inode yet (a Fast Open child before accept()).
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
# INET_DIAG_NOCOOKIE, both halves: match a socket with any cookie.
NO_COOKIE: Final = 0xFFFFFFFFFFFFFFFF

_BC_S_COND: Final = 7
_BC_D_COND: Final = 8
_ANY_PORT: Final = -1
# The length of an attribute and the offset of a jump have 16 bits: this many of the longest conditions are far below.
MAX_CONDITIONS: Final = 256

MSG_SIZE: Final = 72
HEAD_AT: Final = netlink.HEADER.size
RECORD: Final = HEAD_AT + MSG_SIZE
_TAIL: Final = struct.Struct("=IIIII")  # expires, rqueue, wqueue, uid, inode
INODE: Final = struct.Struct("=I")
KIND: Final = struct.Struct("=Q")
_MARK_HEADER: Final = 8 | INET_DIAG_MARK << 16
# Runs of equal records are looked for in windows that grow as long as the records are alike, so that the time stays
# linear if they are not.
_FIRST_WINDOW: Final = 64


def dump_request(states: int, *, extensions: int = 0, bytecode: bytes = b"", seq: int = 1) -> bytes:
    """A request for every TCP socket, IPv4 and IPv6 in one dump, whose state is in the bit mask `states`.

    extensions: bit (INET_DIAG_x - 1) for each wanted attribute, at most 8. Source: `inet_diag_rcv_msg_compat()`.
    """
    payload = struct.pack("=BBBB48xII", 0, 0, 0, extensions, states, 0)
    if bytecode:
        payload += netlink.attribute(INET_DIAG_REQ_BYTECODE, bytecode)
    return netlink.message(TCPDIAG_GETSOCK, netlink.NLM_F_REQUEST | netlink.NLM_F_DUMP, seq, payload)


def mptcp_request(family: int, states: int, seq: int = 1) -> bytes:
    """A request for the MPTCP sockets of a family in these states, which a dump of TCP sockets does not distinguish.

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
    """A filter that the kernel runs before it copies a socket: all listener endpoints and source prefixes must match.

    Addresses match v4-mapped sockets too; a wildcard address matches any. At most MAX_CONDITIONS different conditions
    fit, so the rows must be checked by `core.filters.Filter` as well. Source: `inet_diag_bc_run()`.
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
        # The kernel takes a jump to four bytes past the end as "no", and reaching exactly the end as "yes".
        code += c[:1] + struct.pack("=BH", len(c), rest + 4) + c[4:]
        rest -= len(c)
    return code


class Slice(Struct):
    """One stretch of a dump.

    parts: runs of dtype REQUEST, views of the bytes. full: the number of full sockets in SYN_RECV. done: the dump ended
    here. errno: it ended in this error; 0: none. interrupted: the kernel flagged the dump as inconsistent.
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
    # `alike` covers length, type and flags, and `kind` the inode and the header of the first attribute, in one word
    # each: equal words mean records of the same layout.
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
    """Parse a stretch of a SYN_RECV dump, whole messages: runs of records of the same layout as one view each.

    Raises: WireError if the bytes are not such messages.
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
    """Take the first record and those after it of the same layout, at most `window`. Returns how many (at
    least one).
    """
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
    """Parse a stretch of a LISTEN dump requested with INET_DIAG_SKMEMINFO. Raises: WireError."""
    result = ListenerSlice(np.empty(0, dtype=LISTENER))
    by_length = _by_length(data, result)
    parts = [_listener_rows(data, starts, length) for length, starts in by_length.items()]
    if parts:
        # Back into the order of the dump.
        order = np.argsort(np.concatenate(list(by_length.values())), kind="stable")
        result.listeners = np.concatenate(parts)[order]
    return result


def _by_length(data: memoryview, result: ListenerSlice | SocketSlice) -> dict[int, list[int]]:
    """The offsets of the messages about sockets, by length; other messages (the end, errors) are noted in `result`."""
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
            # Nearly all are alike: take the following ones with the same length, type and flags at once.
            step = offset - start
            count = _alike(data, start, step, window)
            window = window * 2 if count == window else _FIRST_WINDOW
            by_length.setdefault(stop - start, []).extend(range(start, start + count * step, step))
            offset = start + count * step
        elif type_ not in (netlink.NLMSG_NOOP, netlink.NLMSG_OVERRUN):
            raise WireError(f"unexpected message type {type_}", start)
    return by_length


class SocketSlice(Struct):
    """The sockets of one stretch of a dump, in any state. heads: (n,) with the fields of REQUEST."""

    heads: NDArray[Any]
    done: bool = False
    interrupted: bool = False
    errno: int = 0


def parse_sockets(data: memoryview) -> SocketSlice:
    """Parse the addresses and ports from a stretch of a dump of any sockets. Raises: WireError."""
    result = SocketSlice(np.empty(0, dtype=REQUEST))
    parts = [_heads(_messages(data, starts, length)) for length, starts in _by_length(data, result).items()]
    if parts:
        result.heads = np.concatenate(parts)
    return result


def _heads(raw: NDArray[np.uint8]) -> NDArray[Any]:
    heads: NDArray[Any] = np.ascontiguousarray(raw[:, HEAD_AT : HEAD_AT + REQUEST.itemsize]).view(REQUEST)[:, 0]
    return heads


def _alike(data: memoryview, start: int, step: int, window: int) -> int:
    """How many messages from `start` on, `step` bytes apart, have the same length, type and flags as the first; at
    least one, at most `window`.
    """
    count = min((len(data) - start) // step, window)
    if count < 2:
        return 1
    heads: NDArray[Any] = np.ndarray((count,), dtype="<u8", buffer=data, offset=start, strides=(step,))
    alike = heads == heads[0]
    return count if alike.all() else int(np.argmin(alike))


def _messages(data: memoryview, starts: list[int], length: int) -> NDArray[np.uint8]:
    """The bytes of messages of equal length, (n, length); a view if they are evenly spaced."""
    at = np.array(starts, dtype=np.intp)
    gaps = np.diff(at)
    if len(gaps) and (gaps == gaps[0]).all():
        strides = (int(gaps[0]), 1)
        return np.ndarray((len(at), length), dtype=np.uint8, buffer=data, offset=starts[0], strides=strides)
    found: NDArray[np.uint8] = np.frombuffer(data, dtype=np.uint8)[at[:, None] + np.arange(length)]
    return found


def _listener_rows(data: memoryview, starts: list[int], length: int) -> NDArray[Any]:
    """The listeners of messages of equal length, (n,) LISTENER, in a few numpy calls for all with the same layout."""
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
        # All messages whose attributes have the same layout as those of the first one left.
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
