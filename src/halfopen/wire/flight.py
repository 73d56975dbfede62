"""Flight records as bytes: frames with length and checksum, so that only the last frame is lost if the end is torn.

A file begins with MAGIC. A frame is `<u32 length> <u32 CRC-32 of kind and payload> <u8 kind> payload`; the payload is
MessagePack, compressed with zlib. Frames do not depend on each other. Zstandard would be better, but the standard
library has it only since Python 3.14.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Final, get_type_hints

import msgspec
import numpy as np
from msgspec import Struct, field
from numpy.typing import NDArray

from halfopen.core.errors import DAMAGED, UsageError, WireError
from halfopen.core.filters import Filter
from halfopen.core.flight import (
    FlightEntry,
    FlightHead,
    FlightReading,
    FlightReleased,
    FlightTold,
    FlightWithheld,
    RecordedFinding,
)
from halfopen.core.model import join
from halfopen.core.model.answered import Calm
from halfopen.core.model.columns import Columns
from halfopen.core.policy.actions import Release, Released, Withheld, Withholding
from halfopen.core.policy.alarms import Alarm, CauseChanged, Clear, Passed, Rising, Telling
from halfopen.core.policy.counts import Subject
from halfopen.core.sample import LISTENER, QUEUES, Completeness, ListenerOptions, Process, Requests, Sample
from halfopen.core.sample.arrivals import SOURCE, Arrivals
from halfopen.core.sample.before_tcp import BeforeTcp
from halfopen.core.sample.peers import PEER, Peers
from halfopen.core.sample.ways import WaysBack
from halfopen.core.sample.workers import Workers
from halfopen.core.units import text_only
from halfopen.core.where import Host, Namespace
from halfopen.wire import cures

MAGIC: Final = b"halfopen flight 1\n"
FRAME: Final = struct.Struct("<IIB")
FRAME_MOST: Final = 4 * 1024 * 1024
"""The longest compressed payload, bytes; uncompressed, it may be eight times as long."""
_UNPACKED_MOST: Final = 8 * FRAME_MOST
_LEVEL: Final = 1
_ROWS_MOST: Final = 2_000_000
_TOLD: Final[Mapping[str, type[Any]]] = {t.__name__: t for t in (Rising, Passed, Alarm, CauseChanged, Clear)}


class _Release(Struct):
    """A release, without its outcome. filter: as command-line options."""

    where: Namespace
    filter: str
    reason: str
    incidents: tuple[str, ...] = ()
    policy: str = ""
    decided_by: tuple[tuple[str, int | float | str], ...] = ()


# The fields of an outcome other than its action, all with a default, and a type to decode them.
_NUMBERS: Final = tuple(name for name in Released.__struct_fields__ if name != "action")
_HINTS: Final = get_type_hints(Released)
_Outcome: Final[Any] = msgspec.defstruct("_Outcome", [(name, _HINTS[name], msgspec.UNSET) for name in _NUMBERS])


class _Array(Struct):
    """A numpy array: its dtype, described as in the .npy format, and its bytes."""

    dtype: Any
    data: bytes


class _Arrivals(Struct):
    seconds: float
    keys: _Array
    counters: _Array
    sources: _Array
    packets: bool
    why: str
    crowded: bool
    unfit: int


class _Calm(Struct):
    cookies: _Array
    drops: _Array
    since_s: _Array
    overflows: tuple[int, float] | None


class _Columns(Struct):
    group_of: _Array
    retransmits: _Array
    ages_s: _Array
    is_deferred: _Array
    v4: _Array
    is_v4: _Array
    high: _Array
    exact: bool = False
    timeouts: bool = False


class _Reading(Struct):
    where: Namespace
    host: Host
    monotonic_s: float
    wall_s: float
    listeners: _Array
    queues: _Array | None = None
    owners: dict[int, tuple[Process, ...]] = field(default_factory=dict)
    options: dict[int, ListenerOptions] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    settings: dict[str, int] = field(default_factory=dict)
    completeness: Completeness = field(default_factory=Completeness)
    requests: tuple[int, int] | None = None
    arrivals: _Arrivals | None = None
    peers: tuple[_Array, bool] | None = None
    workers: Workers | None = None
    before_tcp: BeforeTcp | None = None
    columns: _Columns | None = None
    calm: _Calm | None = None
    findings: tuple[RecordedFinding, ...] | None = None
    glance: bool = False
    left_out: tuple[str, ...] = ()
    ways: WaysBack | None = None
    cures: tuple[tuple[cures.RawCure, ...], ...] = ()
    took_s: float = 0.0


_HEAD, _READING, _TELLING, _RELEASED, _WITHHELD = 1, 2, 3, 4, 5
_DECODERS: Final[Mapping[int, msgspec.msgpack.Decoder[Any]]] = {
    _HEAD: msgspec.msgpack.Decoder(FlightHead),
    _READING: msgspec.msgpack.Decoder(_Reading),
    _TELLING: msgspec.msgpack.Decoder(tuple[float, str, dict[str, Any]]),
    _RELEASED: msgspec.msgpack.Decoder(tuple[float, _Release, _Outcome]),
    _WITHHELD: msgspec.msgpack.Decoder(tuple[_Release, Subject, Withholding, int | None, str]),
}


def encode(entry: FlightEntry, level: int = _LEVEL) -> bytes:
    """The frame of an entry. level: of zlib; 0: not compressed."""
    if isinstance(entry, FlightHead):
        return frame(_HEAD, entry)
    if isinstance(entry, FlightReleased):
        outcome = {name: getattr(entry.outcome, name) for name in _NUMBERS}
        return frame(_RELEASED, (entry.wall_s, _raw_release(entry.outcome.action), outcome))
    if isinstance(entry, FlightWithheld):
        a = entry.action
        return frame(_WITHHELD, (_raw_release(a.release), a.listener, a.why, a.matching, a.detail))
    if isinstance(entry, FlightTold):
        told = msgspec.to_builtins(entry.telling)
        return frame(_TELLING, (entry.wall_s, type(entry.telling).__name__, told))
    return frame(_READING, _raw(entry), level)


def decode(data: bytes | memoryview) -> Iterator[FlightEntry]:
    """The complete entries of a record.

    Raises: WireError if it is no record, or if a frame is torn or damaged, after yielding all entries before that.
    """
    view = memoryview(data)
    if bytes(view[: len(MAGIC)]) != MAGIC:
        raise WireError("this is no flight record of a version that is known")
    at = len(MAGIC)
    while at < len(view):
        if len(view) - at < FRAME.size:
            raise WireError("the last entry is torn", at)
        length, checksum, kind = FRAME.unpack_from(view, at)
        payload = view[at + FRAME.size : at + FRAME.size + length]
        if length > FRAME_MOST or len(payload) < length:
            raise WireError("the last entry is torn", at)
        if checksum_of(kind, payload) != checksum:
            raise WireError("an entry has another checksum than its bytes", at)
        yield entry_of(kind, payload, at)
        at += FRAME.size + length


def frame(kind: int, content: object, level: int = _LEVEL) -> bytes:
    """A frame. content: anything that MessagePack can encode."""
    try:
        packed = msgspec.msgpack.encode(content)
    except UnicodeEncodeError:
        packed = msgspec.msgpack.encode(text_only(msgspec.to_builtins(content, builtin_types=(bytes,))))
    payload = zlib.compress(packed, level)
    return FRAME.pack(len(payload), checksum_of(kind, payload), kind) + payload


def checksum_of(kind: int, payload: bytes | memoryview) -> int:
    """The checksum of a frame of a kind."""
    return zlib.crc32(payload, zlib.crc32(bytes((kind,))))


def unpacked(payload: memoryview, at: int, most: int) -> bytes:
    """The uncompressed payload. at: its offset, for errors. Raises: WireError if it exceeds `most` bytes,
    zlib.error.
    """
    unpacker = zlib.decompressobj()
    packed = unpacker.decompress(payload, most)
    if unpacker.unconsumed_tail:
        raise WireError("an entry is too large", at)
    return packed


def entry_of(kind: int, payload: memoryview, at: int, most: int = _UNPACKED_MOST) -> FlightEntry:
    """The entry of a frame. at: its offset, for errors. most: limit of its uncompressed payload. Raises: WireError."""
    try:
        packed = unpacked(payload, at, most)
        if kind not in _DECODERS:
            raise WireError(f"an entry is of the unknown kind {kind}", at)
        return _made(kind, _DECODERS[kind].decode(packed))
    except (zlib.error, UsageError, *DAMAGED) as e:
        raise WireError(f"an entry is not as halfopen writes it ({e})", at) from None


def _made(kind: int, content: Any) -> FlightEntry:
    """The entry of a decoded payload. Raises: DAMAGED, UsageError."""
    if kind == _READING:
        return _reading(content)
    if kind == _TELLING:
        wall_s, name, told = content
        telling: Telling = msgspec.convert(told, _TOLD[name])
        return FlightTold(wall_s, telling)
    if kind == _RELEASED:
        wall_s, raw, outcome = content
        given = {name: value for name in _NUMBERS if (value := getattr(outcome, name)) is not msgspec.UNSET}
        return FlightReleased(wall_s, Released(_release(raw), **given))
    if kind == _WITHHELD:
        raw, *rest = content
        return FlightWithheld(Withheld(_release(raw), *rest))
    head: FlightHead = content
    return head


def _raw_release(r: Release) -> _Release:
    return _Release(r.where, r.filter.arguments(), r.reason, r.incidents, r.policy, r.decided_by)


def _release(raw: _Release) -> Release:
    filter = Filter.of_arguments(raw.filter)
    return Release(raw.where, filter, raw.reason, raw.incidents, policy=raw.policy, decided_by=raw.decided_by)


# --- readings ---------------------------------------------------------------------------------------------------------


def _array(rows: NDArray[Any]) -> _Array:
    return _Array(np.lib.format.dtype_to_descr(rows.dtype), np.ascontiguousarray(rows).tobytes())


def _rows(array: _Array, dtype: np.dtype[Any] | None = None) -> NDArray[Any]:
    """The array. If an earlier version wrote it with another dtype, fields of the same name are copied."""
    kept = np.lib.format.descr_to_dtype(_tuples(array.dtype))
    if kept.hasobject or not kept.itemsize or len(array.data) > _ROWS_MOST * kept.itemsize:
        raise ValueError("an array is too large")
    rows = np.frombuffer(array.data, dtype=kept).copy()
    if dtype is None or kept == dtype:
        return rows
    same = np.zeros(len(rows), dtype=dtype)
    for name in set(kept.names or ()) & set(dtype.names or ()):
        same[name] = rows[name]
    return same


def _tuples(descr: Any) -> Any:
    """The description of a dtype, with tuples again where MessagePack made lists."""
    if isinstance(descr, str):
        return descr
    return [
        tuple(_tuples(part) if isinstance(part, list) and i == 1 else _shape(part) for i, part in enumerate(one))
        for one in descr
    ]


def _shape(part: Any) -> Any:
    return tuple(part) if isinstance(part, list) else part


def _raw(one: FlightReading) -> _Reading:
    s = one.sample
    requests, arrivals, peers = s.part(Requests), s.part(Arrivals), s.part(Peers)
    return _Reading(
        s.where,
        s.host,
        s.monotonic_s,
        s.wall_s,
        _array(s.listeners),
        None if s.queues is None else _array(s.queues),
        dict(s.owners),
        dict(s.options),
        dict(s.counters),
        dict(s.settings),
        s.completeness,
        None if requests is None else (requests.count, requests.full),
        None if arrivals is None else _raw_arrivals(arrivals),
        None if peers is None else (_array(peers.rows), peers.whole),
        s.part(Workers),
        s.part(BeforeTcp),
        None if one.columns is None else _raw_columns(one.columns),
        None if one.calm is None else _raw_calm(one.calm),
        one.findings,
        one.glance,
        one.left_out,
        s.part(WaysBack),
        tuple(tuple(map(cures.raw_of, of_one)) for of_one in one.cures),
        0.0 if requests is None else requests.took_s,
    )


def _raw_arrivals(a: Arrivals) -> _Arrivals:
    arrays = _array(a.keys), _array(a.counters), _array(a.sources)
    return _Arrivals(a.seconds, *arrays, a.packets, a.why, a.crowded, a.unfit)


def _raw_calm(c: Calm) -> _Calm:
    return _Calm(_array(c.cookies), _array(c.drops), _array(c.since_s), c.overflows)


_COLUMNS: Final = ("group_of", "retransmits", "ages_s", "is_deferred", "v4", "is_v4", "high")


def _raw_columns(c: Columns) -> _Columns:
    return _Columns(**{name: _array(getattr(c, name)) for name in _COLUMNS}, exact=c.exact, timeouts=c.timeouts)


def _reading(raw: _Reading) -> FlightReading:
    listeners = _rows(raw.listeners, LISTENER)
    queues = None if raw.queues is None else _rows(raw.queues, QUEUES)
    if queues is not None and len(queues) != len(listeners):
        raise ValueError("there are more listeners than queues, or less")
    parts: list[object] = []
    if raw.requests is not None:
        parts.append(Requests(count=raw.requests[0], full=raw.requests[1], took_s=raw.took_s))
    if raw.arrivals is not None:
        a = raw.arrivals
        arrays = _rows(a.keys), _rows(a.counters), _rows(a.sources, SOURCE)
        parts.append(Arrivals(a.seconds, *arrays, a.packets, a.why, a.crowded, a.unfit))
    if raw.peers is not None:
        parts.append(Peers(_rows(raw.peers[0], PEER), raw.peers[1]))
    parts += [part for part in (raw.workers, raw.before_tcp, raw.ways) if part is not None]
    sample = Sample(
        where=raw.where,
        host=raw.host,
        listeners=listeners,
        monotonic_s=raw.monotonic_s,
        wall_s=raw.wall_s,
        queues=queues,
        owners=raw.owners,
        options=raw.options,
        counters=raw.counters,
        settings=raw.settings,
        completeness=raw.completeness,
        parts=tuple(parts),
    )
    columns = None if raw.columns is None else _columns(raw.columns, listeners)
    calm = None if raw.calm is None else _calm(raw.calm)
    proposed = tuple(tuple(map(cures.cure_of, of_one)) for of_one in raw.cures)
    return FlightReading(sample, columns, calm, raw.findings, raw.glance, raw.left_out, proposed)


def _columns(raw: _Columns, listeners: NDArray[Any]) -> Columns:
    groups = join.groups(listeners)
    arrays = {name: _rows(getattr(raw, name)) for name in _COLUMNS}
    group_of, high = arrays["group_of"], arrays["high"]
    if any(len(arrays[name]) != len(group_of) for name in _COLUMNS if name != "high"):
        raise ValueError("columns are not equally long")
    if len(high) != int(np.count_nonzero(~arrays["is_v4"])):
        raise ValueError("there are more sources than requests, or less")
    if len(group_of) and not (int(group_of.min()) >= join.NONE and int(group_of.max()) < len(groups)):
        raise ValueError("a request is of a listener that is not there")
    return Columns(groups, **arrays, exact=raw.exact, timeouts=raw.timeouts)


def _calm(raw: _Calm) -> Calm:
    return Calm(_rows(raw.cookies), _rows(raw.drops), _rows(raw.since_s), raw.overflows)
