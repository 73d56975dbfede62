"""Fields of a namespace as a whole, in `status --json`."""

from __future__ import annotations

from typing import Any, Final

from halfopen.core.fields.counters import COUNTERS
from halfopen.core.fields.field import Field, Kind, json_object
from halfopen.core.fields.guard import armed
from halfopen.core.fields.listener import LISTENER
from halfopen.core.fields.source import SOURCE
from halfopen.core.model.model import Model
from halfopen.core.sample.guard import Guards
from halfopen.core.where import Namespace

COMPLETENESS: Final[tuple[Field[Model], ...]] = (
    Field(
        "source",
        "`bpf` (eBPF); `diag` (sock_diag), where eBPF is refused; `proc`, where both are",
        lambda m: m.sample.completeness.source,
        "string",
        kind=Kind.LABEL,
    ),
    Field(
        "whole",
        "false if anything below says that something may be missing",
        lambda m: m.sample.completeness.whole,
        "boolean",
    ),
    Field(
        "interrupted",
        "the kernel flagged the dump: rows may be missing or shown twice",
        lambda m: m.sample.completeness.interrupted,
        "boolean",
    ),
    Field(
        "problems",
        "what is missing or doubtful, in words",
        lambda m: list(m.sample.completeness.problems),
        "array of strings",
    ),
    Field(
        "notes",
        "what else could not be read, for lack of a privilege or of time: owners, options of listeners",
        lambda m: list(m.sample.completeness.notes),
        "array of strings",
    ),
    Field(
        "ages_from",
        "`synack`: the kernel's own time of the first SYN-ACK, exact; `timeouts`: computed from "
        "timers, with the help of `/proc/net/tcp`; `retransmits`: computed from timers alone "
        "([why](how-it-reads.md#when-the-age-is-wrong))",
        lambda m: m.ages_from,
        "string",
        kind=Kind.LABEL,
    ),
)


def _counters(model: Model) -> dict[str, Any]:
    return {name: model.sample.counters[name] for name in COUNTERS if name in model.sample.counters}


# The verdict stands between the two: `present` makes the words of it.
PLACE: Final[tuple[Field[Namespace], ...]] = (
    Field(
        "netns",
        "as `--netns` takes it; `self` is halfopen's own",
        lambda n: n.name,
        "string",
        kind=Kind.LABEL,
    ),
    Field("netns_inode", "the kernel's identity of the namespace", lambda n: n.inode, kind=Kind.LABEL),
    Field(
        "lives_in",
        "a process in it and its unit or container; null when not looked for (without `--netns all`)",
        lambda n: n.lives_in or None,
        "string or null",
        kind=Kind.LABEL,
    ),
)
NAMESPACE: Final[tuple[Field[Model], ...]] = (
    Field("half_open", "connections whose handshake is not finished", lambda m: m.half_open),
    Field(
        "may_have_answered",
        "of `half_open`, those whose client may have answered while an accept queue was full, which only eBPF can tell "
        "([why](how-it-reads.md#who-answered-a-full-accept-queue))",
        lambda m: m.may_have_answered,
    ),
    Field(
        "deferred",
        "connections whose handshake is finished and that wait for data (`TCP_DEFER_ACCEPT`) or for "
        "room in a full accept queue; not in `half_open`",
        lambda m: m.deferred,
    ),
    Field(
        "full_syn_recv",
        "full sockets in `SYN_RECV` (Fast Open, simultaneous open); not in `half_open`",
        lambda m: m.full,
    ),
    Field("orphans", "of `half_open`, those whose listener is gone", lambda m: m.orphans),
    Field("oldest_s", "age of the oldest; 0 without any", lambda m: round(m.oldest_s, 3), unit="s"),
    Field("arrivals_per_s", "connections younger than 1 s", lambda m: m.arrivals_per_s),
    Field(
        "release_time_s",
        "time after which the kernel gives up a half-open connection, by `tcp_synack_retries`",
        lambda m: m.release_time_s,
        unit="s",
    ),
    Field(
        "settings",
        "the relevant sysctls by the last part of their name; those this kernel lacks are left out; "
        "with `--netns all` empty where nothing listens and no TCP segment ever came",
        lambda m: dict(m.sample.settings),
        "object",
    ),
    Field(
        "counters",
        "counters of the namespace since it was made; those this kernel lacks are left out",
        _counters,
        "object",
    ),
    Field(
        "completeness",
        "whether the reading is whole, see below",
        lambda m: json_object(COMPLETENESS, m),
        "object",
    ),
    Field(
        "listeners",
        "every listener, the one with most half-open connections first, see below",
        lambda m: [json_object(LISTENER, view) for view in m.listeners],
        "array",
    ),
    Field(
        "guards",
        "guards of `halfopen protect` that are armed there; null where nobody looked, as with `--instant`: `devices`, "
        "`answers`, `share`, `rung`, `by_policy` and `counts`, as in [halfopen.protect-status/1](protect.md#json)",
        lambda m: armed(m.sample.part(Guards)),
        "array or null",
    ),
    Field(
        "distinct_sources",
        "distinct IPv4 addresses plus distinct IPv6 /64 networks",
        lambda m: m.distinct_sources,
    ),
    Field(
        "sources",
        "the ten prefixes with most half-open connections, see below",
        lambda m: [json_object(SOURCE, source) for source in m.sources],
        "array",
    ),
)
