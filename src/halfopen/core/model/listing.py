"""The request sockets that `list` shows, collected while they are read: 22 bytes each, 54 with IPv6 addresses.

With a limit only the first ones by the sort order are kept. Of the others it is counted how many there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from msgspec import Struct, field
from numpy.typing import NDArray

from halfopen.core.addresses import AF_INET6, MAPPED_LOW, V4_MAPPED
from halfopen.core.filters import Filter
from halfopen.core.sample.closing import ADDRESSES
from halfopen.core.sample.growing import Growing
from halfopen.core.sample.requests import Rows

SORTS: Final = ("age", "expires", "retransmits", "source", "listener")
# remote and local: the IPv4 address as a number, of a v4-mapped one too; an IS_WIDE record has its place among the wide
# addresses in `remote`. form: the bits below.
RECORD: Final[np.dtype[Any]] = np.dtype(
    [
        ("remote", "<u4"),
        ("local", "<u4"),
        ("expires_ms", "<u4"),
        ("age_s", "<f4"),
        ("remote_port", "<u2"),
        ("local_port", "<u2"),
        ("retransmits", "u1"),
        ("form", "u1"),
    ]
)
IS_IPV6, IS_WIDE, IS_DEFERRED, IS_DOUBTFUL = 1, 2, 4, 8
_MAPPED_WORDS: Final = np.frombuffer(V4_MAPPED, dtype=">u4")
_ADDRESS_WORDS: Final = 4
_CHUNK: Final = 16 * 1024
_LOW: Final = np.uint64(0xFFFFFFFF)

# For n records, a number for each, (n,) uint32.
_Word = Callable[[NDArray[Any]], NDArray[np.uint32]]


class Listing(Struct, frozen=True):
    """What is to be listed: the requests that `filter` lets through, without deferred ones where these are not wanted,
    in the order of `sort` (one of SORTS), the first `limit` of them (None: all).
    """

    filter: Filter = field(default_factory=Filter)
    with_deferred: bool = True
    sort: str = "age"
    limit: int | None = None


class Collected:
    """The requests of one reading that are listed. total, deferred, doubtful: how many passed, shown or not; of the
    last it cannot be told whether the client answered."""

    def __init__(self, listing: Listing) -> None:
        self.total = self.deferred = self.doubtful = 0
        self._listing = listing
        self._records = Growing(RECORD)
        self._wide = Growing(ADDRESSES)

    def __len__(self) -> int:
        limit = self._listing.limit
        return self._records.count if limit is None else min(self._records.count, limit)

    @property
    def any_ipv6(self) -> bool:
        """Whether a request of an IPv6 listener is among those kept."""
        return any((part["form"] & IS_IPV6).any() for part in _parts(self._kept()))

    def add(
        self,
        requests: NDArray[Any],
        ages_s: NDArray[np.float32],
        is_deferred: NDArray[np.bool_],
        is_doubtful: NDArray[np.bool_] | None = None,
    ) -> None:
        """Take requests (n,) REQUEST in the order in which they were read.

        ages_s (n,): in seconds. is_deferred, is_doubtful (n,): which are; is_doubtful None: none is.
        """
        keep = self._listing.filter.mask(requests, ages_s)
        if not self._listing.with_deferred:
            keep &= ~is_deferred
        marks = is_deferred * np.uint8(IS_DEFERRED)
        if is_doubtful is not None:
            marks |= is_doubtful * np.uint8(IS_DOUBTFUL)
        if not keep.all():
            requests, ages_s, marks = requests[keep], ages_s[keep], marks[keep]
        self.total += len(requests)
        self.deferred += int(np.count_nonzero(marks & IS_DEFERRED))
        self.doubtful += int(np.count_nonzero(marks & IS_DOUBTFUL))
        limit = self._listing.limit
        if limit == 0:
            return
        self._records.add(self._recorded(requests, ages_s, marks))
        # Now and then: each time costs a sort of what is kept.
        if limit is not None and self._records.count > 2 * limit + _CHUNK:
            self._forget_all_but(self._order()[:limit])

    def in_order(self, most: int | None = None, chunk: int = _CHUNK) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        """The first `most` in the order of the listing, a chunk at a time: n records (n,) RECORD, and the addresses of
        the m IS_WIDE ones among them, in their order (m,) ADDRESSES. Equals are in the order in which they came.
        """
        end = len(self) if most is None else min(len(self), most)
        if not end:
            return
        order, records, wide = self._order(), self._kept(), self._wide.kept
        for start in range(0, end, chunk):
            found = records[order[start : min(start + chunk, end)]]
            yield found, wide[found["remote"][found["form"] & IS_WIDE != 0]]

    def _kept(self) -> NDArray[Any]:
        """The records that are kept, (K,) RECORD; a view."""
        return self._records.kept

    def _recorded(self, requests: NDArray[Any], ages_s: NDArray[np.float32], marks: NDArray[np.uint8]) -> NDArray[Any]:
        """The records of requests (n,) REQUEST, (n,) RECORD. ages_s (n,): in seconds; marks (n,): of their form."""
        made = np.empty(len(requests), dtype=RECORD)
        for name in ("expires_ms", "remote_port", "local_port", "retransmits"):
            made[name] = requests[name]
        made["age_s"] = ages_s
        made["form"] = marks
        made["remote"], made["local"] = requests["remote_v4"], requests["local_v4"]
        v6 = requests["family"] == AF_INET6
        if v6.any():
            self._record_v6(made, requests, np.flatnonzero(v6))
        return made

    def _record_v6(self, made: NDArray[Any], requests: NDArray[Any], at: NDArray[np.intp]) -> None:
        """Enter the addresses of the IPv6 requests among requests (n,) REQUEST into their records `made` (n,) RECORD.
        at: their places, (m,). Addresses other than v4-mapped ones go into `_wide`, and the record says where.
        """
        made["form"][at] |= IS_IPV6
        ours = requests[at]
        mapped = np.ones(len(at), dtype=bool)
        for side in ("remote", "local"):
            mapped &= (ours[f"{side}_high"] == 0) & (ours[f"{side}_low"] >> np.uint64(32) == MAPPED_LOW)
        for side in ("remote", "local"):
            made[side][at[mapped]] = ours[f"{side}_low"][mapped] & _LOW
        if mapped.all():
            return
        wide = np.empty(len(at) - int(np.count_nonzero(mapped)), dtype=ADDRESSES)
        for side in ("remote", "local"):
            wide[side] = ours[f"{side}_address"][~mapped]
        made["form"][at[~mapped]] |= IS_WIDE
        made["remote"][at[~mapped]] = np.arange(self._wide.count, self._wide.count + len(wide))
        made["local"][at[~mapped]] = 0
        self._wide.add(wide)

    def _forget_all_but(self, places: NDArray[Any]) -> None:
        """Keep only the records at these places, (k,), in this order, and number their wide addresses anew."""
        records = self._kept()[places]
        is_wide = records["form"] & IS_WIDE != 0
        wide = self._wide.kept[records["remote"][is_wide]]
        records["remote"][is_wide] = np.arange(len(wide))
        for kept, those in ((self._records, records), (self._wide, wide)):
            kept.clear()
            kept.add(those)

    def _order(self) -> NDArray[np.uint32]:
        """The places of the K records that are kept, (K,), in the order of the listing."""
        by = self._listing.sort
        if by == "age":
            return _sorted(self._kept(), [_age])
        if by == "retransmits":
            return _sorted(self._kept(), [lambda r: 255 - r["retransmits"].astype(np.uint32)])
        if by == "expires":
            return _sorted(self._kept(), [lambda r: r["expires_ms"]])
        side = "remote" if by == "source" else "local"
        words: list[_Word] = [lambda r: r[f"{side}_port"]]
        words += [self._address_word(side, k) for k in reversed(range(_ADDRESS_WORDS))]
        return _sorted(self._kept(), [*words, lambda r: (r["form"] & IS_IPV6).astype(np.uint32)])

    def _address_word(self, side: str, k: int) -> _Word:
        """What gives word k of the addresses of a side, the most significant first: (n,) uint32 for (n,) RECORD."""
        wide = self._wide.kept

        def word(records: NDArray[Any]) -> NDArray[np.uint32]:
            form, number = records["form"], records[side]
            if not (form & IS_IPV6).any():
                return number if k == 0 else np.zeros(len(records), dtype=np.uint32)
            of_mapped = number if k == _ADDRESS_WORDS - 1 else _MAPPED_WORDS[k]
            found = np.where(form & IS_IPV6 != 0, of_mapped, number if k == 0 else 0).astype(np.uint32)
            at = np.flatnonzero(form & IS_WIDE)
            if len(at):
                octets = np.ascontiguousarray(wide[side][records["remote"][at]])
                found[at] = octets.view(">u4").reshape(-1, _ADDRESS_WORDS)[:, k]
            return found

        return word


class Collecting:
    """The `core.sample.requests.Taker` of a listing. Where the kernel says which requests are deferred, only what is
    listed is kept, in `collected`; otherwise the whole reading tells, and `rows` keeps all until then.
    """

    def __init__(self, listing: Listing) -> None:
        self._listing = listing
        self.begin(np.empty(0))

    def begin(self, listeners: NDArray[Any], expected: int = 0) -> None:
        """As `Taker.begin`."""
        self.collected, self.rows = Collected(self._listing), Rows()

    def add(
        self,
        requests: NDArray[Any],
        *,
        timeouts: NDArray[np.uint8] | None = None,
        ages_s: NDArray[np.float32] | None = None,
        acked: NDArray[np.bool_] | None = None,
    ) -> None:
        """As `Taker.add`."""
        if ages_s is not None and acked is not None:
            self.collected.add(requests, ages_s, acked)
        else:
            self.rows.add(requests, timeouts=timeouts)


class Listed(Struct, frozen=True):
    """What is listed of one namespace, when it was read (s since the epoch), what is missing, and why some are in
    doubt. ages_are: "exact"; or worked out from timers, "upper" or "lower" bounds where clients sent their SYN again.
    """

    netns: str
    wall_s: float
    problems: tuple[str, ...]
    collected: Collected
    doubt: str = ""
    ages_are: str = "exact"


def _age(records: NDArray[Any]) -> NDArray[np.uint32]:
    """A word for each of records (N,) RECORD, (N,): the older, the smaller."""
    # As numbers the bits of floats from 0 up are in the floats' order. -0.0 is a 0.0 here; nothing is younger.
    bits: NDArray[np.uint32] = np.maximum(records["age_s"], np.float32(0)).view(np.uint32)
    return ~(bits & np.uint32(0x7FFFFFFF))


def _parts(records: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Records (N,) in slices of at most _CHUNK."""
    return (records[start : start + _CHUNK] for start in range(0, len(records), _CHUNK))


def _sorted(records: NDArray[Any], words: list[_Word]) -> NDArray[np.uint32]:
    """The places of records (N,) RECORD, (N,), ordered by words, the least significant first; equals stay in order.

    It takes 12 bytes a record: a word and the place reached so far make one number, and numbers are sorted in place.
    """
    n = len(records)
    order = np.arange(n, dtype=np.uint32)
    keys = np.empty(n, dtype=np.uint64)
    for word in words:
        first, differ = None, False
        for start in range(0, n, _CHUNK):
            part = order[start : start + _CHUNK]
            found = word(records[part])
            first = found[0] if first is None else first
            differ = differ or bool((found != first).any())
            keys[start : start + len(part)] = found
        if not differ:
            continue
        keys <<= np.uint64(32)
        for start in range(0, n, _CHUNK):
            keys[start : start + _CHUNK] |= np.arange(start, min(start + _CHUNK, n), dtype=np.uint64)
        keys.sort()
        for start in range(0, n, _CHUNK):
            keys[start : start + _CHUNK] = order[keys[start : start + _CHUNK] & _LOW]
        order[:] = keys
    return order
