"""The metrics of a watch, as Prometheus knows them: with the prefix halfopen_, and _total behind a counter.

Their names follow https://prometheus.io/docs/practices/naming: a base unit as the suffix, nothing in a label that could
be a metric of its own. A value is a number, None where it is not known, or what `BY` and `Kind` say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from halfopen.core.fields.field import Field, Kind
from halfopen.core.fields.guard import GUARD
from halfopen.core.fields.kernel import KERNEL_METRICS, SETTING_METRICS
from halfopen.core.fields.watched import Watched, Watching
from halfopen.core.findings import rules as _rules  # noqa: F401  (fills the registry)
from halfopen.core.findings.evidence import Need
from halfopen.core.findings.finding import Level
from halfopen.core.findings.registry import RULES
from halfopen.core.model.listeners import ListenerView
from halfopen.core.model.model import Model
from halfopen.core.notice import ReceiverStanding
from halfopen.core.sample.closing import STATE_NAMES
from halfopen.core.sample.guard import PASSED, FoundGuard, GuardCounts

UNKNOWN: Final = "unknown"
"""The cause of an alarm that no finding explains."""
CAUSES: Final = (*(rule.id for rule in RULES.values() if not rule.note and Need.MEMORY not in rule.needs), UNKNOWN)
"""Every cause that an alarm can have."""
BY: Final[dict[str, tuple[str, ...]]] = {
    "build_info": ("version", "kernel"),
    "namespace_info": ("inode", "lives_in"),
    "finding": ("id",),
    "alarm_cause": ("cause",),
    "sockets": ("state",),
    "notices_delivered": ("receiver",),
    "notices_failed": ("receiver",),
    "notices_waiting": ("receiver",),
    "guard_passed": ("why",),
}
"""The further labels of those metrics that have any: their values are pairs of these labels' values and a number."""

Labelled = tuple[tuple[tuple[str, ...], float], ...]


def _of_model(get: Callable[[Model], Any]) -> Callable[[Watched], Any]:
    return lambda watched: None if watched.now is None else get(watched.now)


def _sockets(watched: Watched) -> Labelled | None:
    counts = watched.sockets
    if watched.now is None or counts is None:
        return None
    return tuple(((name.lower(),), float(counts.of(state))) for state, name in STATE_NAMES.items())


def _level(watched: Watched) -> int | None:
    return None if watched.now is None or watched.verdict is None else int(watched.verdict.level)


def _findings(watched: Watched) -> Labelled:
    """The worst level of each finding that is more than a remark."""
    worst: dict[str, int] = {}
    if watched.now is not None and watched.verdict is not None:
        for finding in watched.verdict.findings:
            if finding.level > Level.OK:
                worst[finding.id] = max(worst.get(finding.id, 0), int(finding.level))
    return tuple(((id,), float(level)) for id, level in worst.items())


def _by_receiver(watching: Watching, get: Callable[[ReceiverStanding], int]) -> Labelled:
    return tuple(((one.name,), float(get(one))) for one in watching.receivers)


def _causes(watched: Watched) -> Labelled:
    """The state set: every cause, 1 or 0."""
    on = {cause or UNKNOWN for cause in watched.causes.values()}
    return tuple(((cause,), float(cause in on)) for cause in CAUSES)


def _guards(watched: Watched) -> tuple[FoundGuard, ...]:
    return () if watched.now is None or watched.guards is None else watched.guards.found


def _guarded(field: Field[GuardCounts]) -> Field[Watched]:
    """A counter of the guard as a metric, summed over those of the namespace; None where none is armed."""
    get = field.get

    def value(watched: Watched) -> int | None:
        found = _guards(watched)
        return sum(get(one.counts) for one in found) if found and get is not None else None

    return Field(f"guard_{field.name}", f"{field.help}; only while a guard is armed", value, kind=Kind.COUNTER)


def _passed(watched: Watched) -> Labelled:
    """SYNs left to the kernel, by the reason."""
    found = _guards(watched)
    return tuple(((why,), float(sum(one.counts.passed_for(why) for one in found))) for why in PASSED if found)


NAMESPACE_METRICS: Final[tuple[Field[Watched], ...]] = (
    Field("connections", "half-open connections", _of_model(lambda m: m.half_open)),
    Field(
        "sockets",
        "label `state`: connections that are open or closing, counted by eBPF every 15 s or less often; left out where "
        "there are fewer than 50 of them ([kinds](closing.md))",
        _sockets,
    ),
    Field(
        "readable",
        "1 if the last reading succeeded; else 0, and stale numbers are left out",
        lambda w: w.readable,
    ),
    Field(
        "degraded",
        "1 when the last reading was incomplete, else 0",
        _of_model(lambda m: not m.sample.completeness.whole),
    ),
    Field(
        "last_reading_timestamp_seconds",
        "when the namespace was last read",
        lambda w: None if w.model is None else w.model.sample.wall_s,
        unit="s",
    ),
    Field(
        "reading_duration_seconds",
        "how long readings took, every request or the depths of the queues",
        lambda w: (w.readings, w.readings_s),
        unit="s",
        kind=Kind.SUMMARY,
    ),
    Field(
        "handshake_duration_seconds",
        "time from the first SYN-ACK to the last ACK of handshakes that finished; those by SYN "
        "cookie are not timed. Buckets end at 1, 3, 7, 15, 31 and 63 s, when the SYN-ACK is "
        "retransmitted: handshakes above such an edge would not have finished with that release time",
        lambda w: w.handshakes,
        unit="s",
        kind=Kind.HISTOGRAM,
    ),
    Field("alarms", "alarms that are on, at most one for each listener", lambda w: len(w.causes)),
    Field("alarms_raised", "alarms that began since the watch began", lambda w: w.alarms, kind=Kind.COUNTER),
    Field(
        "alarm_cause",
        "label `cause`: 1 while an alarm is on that this finding explains ([ids](verdicts.md)), else "
        "0; `unknown`: an alarm that no finding explains. Every cause has a series",
        _causes,
    ),
    Field(
        "verdict",
        "the verdict, as of `status`, including open and closing connections: 0 ok, 1 notice, 2 warning, 3 critical",
        _level,
    ),
    Field(
        "finding",
        "label `id`: the level of a finding ([ids](verdicts.md)): 1 notice, 2 warning, 3 critical; else left out",
        _findings,
    ),
    Field(
        "released_connections", "connections released since the watch began", lambda w: w.released, kind=Kind.COUNTER
    ),
    Field("release_failures", "connections that could not be released", lambda w: w.failed, kind=Kind.COUNTER),
    Field(
        "namespace_info",
        "always 1; labels `inode`: the kernel's identity of the namespace, `lives_in`: a process in "
        "it, with its unit or container; empty where halfopen did not look for one (without `--netns "
        "all`)",
        lambda w: (((str(w.inode), w.lives_in), 1.0),),
    ),
    Field(
        "guards", "guards of `halfopen protect` that are armed", lambda w: None if w.now is None else len(_guards(w))
    ),
    *(_guarded(field) for field in GUARD if field.type == "number"),
    Field(
        "guard_passed",
        "label `why`: SYNs that a guard left to the kernel ([reasons](protect.md#json)); only while a guard is armed",
        _passed,
        kind=Kind.COUNTER,
    ),
    *KERNEL_METRICS,
    *SETTING_METRICS,
)

LISTENER_METRICS: Final[tuple[Field[ListenerView], ...]] = (
    Field(
        "syn_queue_requests",
        "requests in the SYN queue; deferred ones (`TCP_DEFER_ACCEPT`) hold a place in it too",
        lambda v: v.held,
    ),
    Field(
        "syn_queue_young_requests",
        "requests in the SYN queue whose SYN-ACK was never retransmitted",
        lambda v: v.young if v.syn_queue_young is None else v.syn_queue_young,
    ),
    Field("syn_queue_limit_requests", "capacity of the SYN queue", lambda v: v.syn_queue_limit),
    Field("accept_queue_connections", "complete connections that wait for `accept()`", lambda v: v.accept_queue),
    Field("accept_queue_limit_connections", "capacity of the accept queue", lambda v: v.accept_queue_limit),
    Field(
        "listener_drops",
        "SYNs and handshakes dropped since the listener was opened",
        lambda v: v.drops,
        kind=Kind.COUNTER,
    ),
    Field("listener_sockets", "sockets that listen here", lambda v: v.members),
    Field(
        "listener_release_time_seconds",
        "time after which the kernel gives up a half-open connection, including the earlier end in a "
        "queue more than half full",
        lambda v: v.effective_release_time_s,
        unit="s",
    ),
)

WATCH_METRICS: Final[tuple[Field[Watching], ...]] = (
    Field(
        "build_info",
        "always 1; labels `version`: of halfopen, `kernel`: the release of the running kernel",
        lambda w: (((w.version, w.kernel), 1.0),),
    ),
    Field("start_time_seconds", "when the watch began, since 1970", lambda w: w.began, unit="s"),
    Field("interval_seconds", "time between the starts of two readings", lambda w: w.interval_s, unit="s"),
    Field("cpu_seconds", "processor time that the watch used", lambda w: w.cpu_s, unit="s", kind=Kind.COUNTER),
    Field("resident_memory_bytes", "memory that the watch occupies", lambda w: w.memory_bytes),
    Field("handshakes_counted", "1 where handshake times are counted, 0 where eBPF is refused", lambda w: w.handshakes),
    Field("namespaces", "network namespaces that are watched", lambda w: w.namespaces),
    Field(
        "namespaces_left_out",
        "watched namespaces that are not shown here: at most 500 are shown, those with an alarm first",
        lambda w: w.namespaces_left_out,
    ),
    Field(
        "listeners_left_out",
        "listeners that are not shown here: at most 4,000 are shown, the fullest of each namespace first",
        lambda w: w.listeners_left_out,
    ),
    Field(
        "spacing_seconds",
        "of the service: time between the starts of two readings now; longer than the interval where `max_cpu` spaces "
        "readings out",
        lambda w: w.spacing_s,
        unit="s",
    ),
    Field(
        "reading_cpu_seconds",
        "of the service: processor time of a reading of all namespaces, averaged over the last ones, without readings "
        "of every request",
        lambda w: w.reading_cpu_s,
        unit="s",
    ),
    Field(
        "face_resident_memory_bytes",
        "of the service: memory of the process that serves metrics and sends notifications; left out while there is "
        "none",
        lambda w: w.face_memory_bytes,
    ),
    Field(
        "face_cpu_seconds",
        "of the service: processor time that this process, and those it replaced, used",
        lambda w: w.face_cpu_s,
        unit="s",
        kind=Kind.COUNTER,
    ),
    Field(
        "face_restarts",
        "of the service: how often this process died or hung, and was replaced",
        lambda w: w.face_restarts,
        kind=Kind.COUNTER,
    ),
    Field(
        "notices_delivered",
        "of the service: messages about incidents that a receiver accepted; label `receiver`: its name",
        lambda w: _by_receiver(w, lambda one: one.delivered),
        kind=Kind.COUNTER,
    ),
    Field(
        "notices_failed",
        "of the service: failed attempts to deliver; label `receiver`",
        lambda w: _by_receiver(w, lambda one: one.failed),
        kind=Kind.COUNTER,
    ),
    Field(
        "notices_waiting",
        "of the service: incidents with news that a receiver has not been sent yet; label `receiver`",
        lambda w: _by_receiver(w, lambda one: one.waiting),
    ),
    Field(
        "messages_dropped",
        "of the service: outgoing messages dropped because a queue was full",
        lambda w: w.dropped,
        kind=Kind.COUNTER,
    ),
)
