"""Output of `advise`: a table of the choices of a release time, and its JSON."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from halfopen.core.advice.advice import AdviceGiven, ListenerAdvice
from halfopen.core.advice.choices import RetriesChoice
from halfopen.core.advice.room import Room
from halfopen.core.fields.field import Field, Kind, json_object
from halfopen.core.fields.listener import NAMED, NamedListener
from halfopen.core.fields.process import processes
from halfopen.core.units import show_duration


class ShownChoice(Struct, frozen=True):
    """A choice beside the retries that are configured, and those that were in force."""

    one: RetriesChoice
    configured: int
    in_force: int
    advised: bool


def one_in(share: float) -> str:
    """A share as people compare it: `1 in 1,003`, rounded so that it is not less than it is; `any` for all of them."""
    return "any" if share >= 1 else f"1 in {int(1 / share):,}"


def _bound(shown: ShownChoice, share: float | None) -> str:
    if share is not None:
        return one_in(share)
    if shown.one.retries == shown.configured:
        return "as now"
    return "not seen" if shown.one.retries >= shown.in_force else "-"


CHOICE: Final[tuple[Field[ShownChoice], ...]] = (
    Field(
        "retries",
        "`tcp_synack_retries` or `TCP_SYNCNT`",
        lambda c: c.one.retries,
        title="RETRIES",
        show=lambda c: f"{'*' if c.one.retries == c.configured else ''}{c.one.retries}",
    ),
    Field(
        "release_time_s",
        "time after which the kernel gives up with that many retries",
        lambda c: c.one.release_time_s,
        unit="s",
        title="RELEASED AFTER",
        show=lambda c: show_duration(c.one.release_time_s),
    ),
    Field(
        "lost",
        "upper bound of the observed handshakes that would have been lost; null where no observation tells this",
        lambda c: c.one.lost,
        "number or null",
        kind=Kind.COUNTER,
        title="SEEN LATER",
        show=lambda c: "-" if c.one.lost is None else f"{c.one.lost:,}",
    ),
    Field(
        "share_at_most",
        "upper bound of the share of clients that this choice would lose (Clopper-Pearson, 95 % for "
        "all six choices together); null where `lost` is",
        lambda c: None if c.one.share is None else round(c.one.share, 9),
        "number or null",
        title="LOSES AT MOST",
        show=lambda c: _bound(c, c.one.share),
    ),
    Field(
        "independent_share_at_most",
        "the same, computed from independent handshakes; also null where sources were not counted",
        lambda c: None if c.one.independent_share is None else round(c.one.independent_share, 9),
        "number or null",
        title="BY SOURCES",
        show=lambda c: "?" if c.one.independent_share is None else one_in(c.one.independent_share),
        spare=2,
    ),
    Field(
        "half_open",
        "connections then half-open on average, by Little's law",
        lambda c: round(c.one.holds, 2),
        title="HALF-OPEN THEN",
        show=lambda c: f"{c.one.holds:,.0f}" if c.one.holds >= 10 else f"{c.one.holds:.1f}",
        spare=1,
    ),
    Field("advised", "whether this choice is advised", lambda c: c.advised, "boolean", kind=Kind.LABEL),
)

ROOM: Final[tuple[Field[Room], ...]] = (
    Field("length", "average length, by Little's law (rate x time)", lambda r: round(r.length, 3)),
    Field("peak", "the longest length that was read", lambda r: r.peak),
    Field("needed", "length that the queue needs, including bursts and headroom", lambda r: r.needed),
    Field("limit", "length that the queue may have; null where it is not known", lambda r: r.limit, "number or null"),
    Field("enough", "`needed` is within `limit`", lambda r: r.enough, "boolean", kind=Kind.LABEL),
    Field(
        "full_in_s",
        "time until the queue is full at its present growth; 0 where it is full; null where it does "
        "not grow, or levels off",
        lambda r: None if r.full_in_s is None else round(r.full_in_s, 1),
        "number or null",
        "s",
    ),
    Field(
        "levels_off_at",
        "the length at which the queue levels off without becoming full; null where it does not",
        lambda r: r.levels_off,
        "number or null",
    ),
)


def shown_choices(one: ListenerAdvice) -> list[ShownChoice]:
    """The choices beside what is configured."""
    return [ShownChoice(c, one.seen.view.retries, one.in_force, c is one.release) for c in one.choices]


def _named(one: ListenerAdvice) -> NamedListener:
    return one.seen.view


LISTENER: Final[tuple[Field[ListenerAdvice], ...]] = (
    *(field.of(_named) for field in NAMED),
    Field(
        "processes",
        "`pid`, `name`, `unit`, `container`, `container_name` of each that holds it, as in status",
        lambda a: processes(a.seen.view.processes),
        "array",
    ),
    Field(
        "finished",
        "handshakes that finished, those by SYN cookie left out",
        lambda a: a.finished,
        kind=Kind.COUNTER,
    ),
    Field(
        "finished_per_s",
        "the same per second",
        lambda a: round(a.seen.handshakes.per_s(a.finished) or 0.0, 3),
    ),
    Field(
        "unanswered_per_s",
        "connections that arrived in this time, found room in the queue and are never answered; those that got a SYN "
        "cookie are not among them",
        lambda a: round(a.seen.unanswered_per_s, 3),
    ),
    Field(
        "prefixes",
        "source prefixes (IPv4 /24, IPv6 /64) of these handshakes; null where sources were not counted",
        lambda a: None if a.seen.rests is None else a.seen.rests.prefixes,
        "number or null",
    ),
    Field(
        "independent",
        "how many independent handshakes they count as, at most 30 of one prefix; null where `prefixes` is",
        lambda a: None if a.seen.rests is None else min(a.seen.rests.independent, a.finished),
        "number or null",
    ),
    Field("synack_retries", "retries configured: `TCP_SYNCNT` or the sysctl", lambda a: a.seen.view.retries),
    Field(
        "fewest_retries",
        "the fewest retries that the kernel made in this time: it makes fewer in a queue more than half full",
        lambda a: a.in_force,
    ),
    Field("pruned_s", "for how long it made fewer than configured", lambda a: round(a.pruned_s, 1), unit="s"),
    Field(
        "server_speaks_first",
        "the protocol, if it is one in which the server speaks first, so that clients that are lost hang; else null",
        lambda a: a.silent or None,
        "string or null",
        kind=Kind.LABEL,
    ),
    Field("tolerated", "the share of clients that a release time may lose here", lambda a: a.tolerated),
    Field(
        "choices",
        "release times, the shortest first, see below",
        lambda a: [json_object(CHOICE, c) for c in shown_choices(a)],
        "array",
    ),
    Field(
        "release_time_s",
        "the shortest release time that is proved to lose no more than `tolerated`; null where none is",
        lambda a: None if a.release is None else a.release.release_time_s,
        "number or null",
        "s",
    ),
    Field(
        "too_late_at_least",
        "at least this share finished only after the last SYN-ACK, so others may come too late; 0 "
        "where that is not proved",
        lambda a: round(a.too_short, 6),
    ),
    Field("syn_queue", "the SYN queue, see below", lambda a: json_object(ROOM, a.syn_queue), "object"),
    Field("accept_queue", "the accept queue, see below", lambda a: json_object(ROOM, a.accept_queue), "object"),
    Field(
        "accept_wait_s",
        "how long a connection waits for accept() on average; null where none came",
        lambda a: None if a.accept_wait_s is None else round(a.accept_wait_s, 6),
        "number or null",
        "s",
    ),
    Field(
        "overflows",
        "at most this many connections found an accept queue full in this time",
        lambda a: a.seen.overflows,
        kind=Kind.COUNTER,
    ),
    Field(
        "accept_queue_stays_full",
        "an accept queue was nearly full at most readings: the program does not keep up, and `needed_backlog` is for "
        "the SYN queue alone",
        lambda a: a.stays_full,
        "boolean",
        kind=Kind.LABEL,
    ),
    Field(
        "backlog",
        "the present backlog of each socket; null where it is not known",
        lambda a: a.backlog,
        "number or null",
    ),
    Field("needed_backlog", "the backlog that it needs, for the larger of both queues", lambda a: a.needed_backlog),
)

ADVICE: Final[tuple[Field[AdviceGiven], ...]] = (
    Field("seconds", "for how long halfopen watched", lambda a: round(a.seconds, 3), unit="s"),
    Field("interrupted", "the look ended before the time asked for", lambda a: a.interrupted, "boolean"),
    Field("missing", "what could not be counted, and why", lambda a: list(a.missing), "array of strings"),
    Field(
        "rto_max_caps_synacks",
        "whether this kernel lets `TCP_RTO_MAX_MS` cap the wait between SYN-ACKs; null where that "
        "could not be determined",
        lambda a: a.capped,
        "boolean or null",
        kind=Kind.LABEL,
    ),
    Field("released", "half-open connections that halfopen released meanwhile", lambda a: a.released),
    Field(
        "tcp_syncookies",
        "0: off, 1: when a queue is full, 2: always; null where the kernel has none",
        lambda a: a.settings.get("tcp_syncookies"),
        "number or null",
    ),
    Field("cookies_sent", "SYN cookies sent meanwhile", lambda a: a.cookies_sent, kind=Kind.COUNTER),
    Field("cookies_back", "ACKs that brought one back", lambda a: a.cookies_back, kind=Kind.COUNTER),
    Field("quiet", "listeners at which nothing finished and nothing waits; not in `listeners`", lambda a: a.quiet),
)
