"""Fields of a listener: the table and the JSON of `status`, and the JSON of `release-time`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from halfopen.core.fields.field import Field, Kind, json_object
from halfopen.core.fields.process import PROCESS, processes, processes_cell
from halfopen.core.model.listeners import Ages, ListenerView
from halfopen.core.units import family_text, listener_text, show_age

_KNOWN: Final = (
    "false: `TCP_SYNCNT` could not be read; it may override the sysctl, whose value `synack_retries` then shows"
)


class NamedListener(Protocol):
    """Any listener, or SO_REUSEPORT group, as far as its name goes."""

    @property
    def family(self) -> int: ...
    @property
    def address(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def ifindex(self) -> int: ...
    @property
    def members(self) -> int: ...


def name_cell(one: NamedListener) -> str:
    """The column LISTENER: `:8080`, with the address where it is bound to one; `:8080 x4` for a group of four."""
    return listener_text(one.address, one.port) + (f" x{one.members}" if one.members > 1 else "")


def retransmits_cell(profile: Sequence[int]) -> str:
    """How many had the SYN-ACK retransmitted 0, 1, 2 … times: `152/404/812/1032`; `47 at 8, 69 at 10` where that would
    be mostly zeros, `9 at 0-3, 30 at 4-7, 77 at 8-10` where it would be long.
    """
    there = [(k, n) for k, n in enumerate(profile) if n]
    if len(profile) <= 3 or (len(profile) <= 7 and 2 * len(there) >= len(profile)):
        return "/".join(str(n) for n in profile) or "-"
    if len(there) <= 3:
        return ", ".join(f"{n} at {k}" for k, n in there)
    step = -(-len(profile) // 3)
    parts = []
    for first in range(0, len(profile), step):
        last = min(first + step, len(profile)) - 1
        n = sum(profile[first : last + 1])
        if n:
            parts.append(f"{n} at {first}-{last}" if last > first else f"{n} at {first}")
    return ", ".join(parts)


def _half_open(view: ListenerView) -> str:
    if not view.deferred:
        return f"{view.half_open:,}"
    return f"{view.half_open:,} (+{view.deferred:,} {'answered' if view.defers is False else 'deferred'})"


def _release_time(view: ListenerView) -> str:
    if not view.retries_known:
        return "?"
    return f"{view.effective_release_time_s:g} s" + ("*" if view.overridden else "")


def _accept_limit(view: ListenerView) -> int | None:
    """The backlog, as `ss` shows it, but never less than the queue holds: it takes one more than the backlog."""
    return view.accept_queue_limit if view.accept_queue < (view.accept_queue_limit or 0) else view.accept_queue_cap


def _of(held: int | None, limit: int | None) -> str:
    """A queue's length and its limit, `?` for what could not be read."""
    return "/".join("?" if n is None else f"{n:,}" for n in (held, limit))


def _age(view: ListenerView, seconds: float) -> str:
    # A reading of the depths of queues alone has no ages, and no retransmits either.
    return show_age(seconds) if view.half_open and view.retransmits else "-"


def _oldest(view: ListenerView) -> str:
    """The age of the oldest; at most what it is by now, where ages were read a while ago: it may be gone."""
    return ("≤" if view.aged_s and view.retransmits else "") + _age(view, view.ages.max + view.aged_s)


NAMED: Final[tuple[Field[NamedListener], ...]] = (
    Field("listener", "", kind=Kind.LABEL, title="LISTENER", show=name_cell),
    Field("address", "address listened on", lambda v: v.address, "string", kind=Kind.LABEL),
    Field("port", "port", lambda v: v.port, kind=Kind.LABEL),
    Field(
        "family",
        "`ipv4` or `ipv6`, of the listening socket",
        lambda v: family_text(v.family),
        "string",
        kind=Kind.LABEL,
    ),
    Field("ifindex", "device it is bound to; 0: none", lambda v: v.ifindex, kind=Kind.LABEL),
    Field("members", "sockets in its `SO_REUSEPORT` group", lambda v: v.members),
)
"""The first fields of every listener."""


def _listening(view: ListenerView) -> NamedListener:
    return view


AGES: Final[tuple[Field[Ages], ...]] = (
    Field("p50", "median, in seconds", lambda a: round(a.p50, 3), unit="s"),
    Field("p99", "99th percentile, in seconds", lambda a: round(a.p99, 3), unit="s"),
    Field("max", "the oldest, in seconds", lambda a: round(a.max, 3), unit="s"),
)

LISTENER: Final[tuple[Field[ListenerView], ...]] = (
    *(field.of(_listening) for field in NAMED),
    Field(
        "half_open",
        "connections whose handshake is not finished",
        lambda v: v.half_open,
        title="HALF-OPEN",
        show=_half_open,
    ),
    Field("may_have_answered", "as above, of this listener", lambda v: v.may_have_answered),
    Field("deferred", "as above, of this listener", lambda v: v.deferred),
    Field("young", "of `half_open`, those whose SYN-ACK was never retransmitted", lambda v: v.young),
    Field(
        "syn_queue",
        "requests in the SYN queue as the kernel counts them, deferred ones included; null where eBPF could not read "
        "it",
        lambda v: v.syn_queue,
        "number or null",
        title="SYN QUEUE",
        show=lambda v: _of(v.syn_queue, v.syn_queue_cap),
    ),
    Field(
        "syn_queue_young",
        "of `syn_queue`, those whose SYN-ACK was never retransmitted",
        lambda v: v.syn_queue_young,
        "number or null",
    ),
    Field(
        "syn_queue_limit",
        "requests the SYN queue takes; null from `/proc`",
        lambda v: v.syn_queue_limit,
        "number or null",
    ),
    Field(
        "age_s",
        "ages of the half-open ones, see below; 0 without any",
        lambda v: json_object(AGES, v.ages),
        "object",
        "s",
    ),
    Field("oldest", "", unit="s", title="OLDEST", show=_oldest),
    Field("p50", "", unit="s", title="P50", show=lambda v: _age(v, v.ages.p50), spare=5),
    Field("p99", "", unit="s", title="P99", show=lambda v: _age(v, v.ages.p99), spare=6),
    Field(
        "retransmits",
        "`half_open` by how often the SYN-ACK was retransmitted: 0, 1, 2 … times",
        lambda v: list(v.retransmits),
        "array of numbers",
        title="RETRANSMITS",
        show=lambda v: retransmits_cell(v.retransmits),
        spare=3,
    ),
    Field(
        "accept_queue",
        "finished connections that wait for `accept()`",
        lambda v: v.accept_queue,
        title="ACCEPT QUEUE",
        show=lambda v: _of(v.accept_queue, _accept_limit(v)),
    ),
    Field(
        "accept_queue_limit",
        "the backlog of its sockets; null from `/proc`",
        lambda v: v.accept_queue_limit,
        "number or null",
    ),
    Field(
        "accept_queue_cap",
        "connections it takes, one more than the backlog of each socket; null from `/proc`",
        lambda v: v.accept_queue_cap,
        "number or null",
    ),
    Field(
        "drops",
        "upper bound of the SYNs and handshakes dropped here since the listener was opened; with "
        "`TCP_DEFER_ACCEPT`, last ACKs without data count as well",
        lambda v: v.drops,
        kind=Kind.COUNTER,
        title="DROPS",
        show=lambda v: f"≤{v.drops:,}" if v.drops and v.defers else f"{v.drops:,}",
        spare=1,
    ),
    Field("synack_retries", "retries in force: `TCP_SYNCNT` or the sysctl", lambda v: v.retries),
    Field("synack_retries_overridden", "`TCP_SYNCNT` is set", lambda v: v.overridden, "boolean", kind=Kind.LABEL),
    Field("synack_retries_known", _KNOWN, lambda v: v.retries_known, "boolean", kind=Kind.LABEL),
    Field(
        "defer_accept_s",
        "`TCP_DEFER_ACCEPT`, as the kernel rounded it; 1 where it is only known from a request; 0: off or not known",
        lambda v: v.defer_accept_s,
        unit="s",
    ),
    Field(
        "release_time_s",
        "time after which the kernel gives up a half-open connection here",
        lambda v: v.release_time_s,
        unit="s",
        title="RELEASE",
        show=_release_time,
        spare=4,
    ),
    Field(
        "effective_release_time_s",
        "the same, including the earlier end in a queue more than half full",
        lambda v: v.effective_release_time_s,
        unit="s",
    ),
    Field(
        "process",
        "the first of `processes`; null when it cannot be seen",
        lambda v: json_object(PROCESS, v.processes[0]) if v.processes else None,
        "object or null",
        kind=Kind.LABEL,
        title="PROCESS",
        show=lambda v: processes_cell(v.processes),
        spare=2,
    ),
    Field(
        "processes",
        "`pid`, `name`, `unit`, `container`, `container_name` of each that holds the socket, see below",
        lambda v: processes(v.processes),
        "array",
    ),
)
"""`status`; a group with SO_REUSEPORT is one listener."""

RELEASE_TIME: Final[tuple[Field[ListenerView], ...]] = (
    Field("address", "address listened on", lambda v: v.address, "string", kind=Kind.LABEL),
    Field("port", "port", lambda v: v.port, kind=Kind.LABEL),
    Field("synack_retries", "retries in force: `TCP_SYNCNT` or the sysctl", lambda v: v.retries),
    Field("overridden", "`TCP_SYNCNT` is set", lambda v: v.overridden, "boolean", kind=Kind.LABEL),
    Field("known", _KNOWN, lambda v: v.retries_known, "boolean", kind=Kind.LABEL),
    Field(
        "release_time_s",
        "time after which the kernel gives up a half-open connection here",
        lambda v: v.release_time_s,
        unit="s",
    ),
    Field(
        "effective_release_time_s",
        "the same, including the earlier end in a queue more than half full",
        lambda v: v.effective_release_time_s,
        unit="s",
    ),
)
"""`release-time`."""
