"""The metrics of a watch, as Prometheus knows them: with the prefix halfopen_, and _total behind a counter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from halfopen.core.fields.counters import COUNTERS
from halfopen.core.fields.field import Field, Kind
from halfopen.core.findings.finding import Level
from halfopen.core.findings.verdict import Verdict
from halfopen.core.model.listeners import ListenerView
from halfopen.core.model.model import Model
from halfopen.core.policy.readings import Subject

# How many connections there are is no event.
_EVENTS: Final = tuple(name for name in COUNTERS if name != "CurrEstab")


@dataclass(slots=True)
class Watched:
    """What a watch knows of one namespace. verdict: the last one; causes: of the alarms that are on, by their listener;
    released, failed: connections, since the watch began; name: its latest.
    """

    name: str = ""
    model: Model | None = None
    readable: bool = True
    verdict: Verdict | None = None
    causes: dict[Subject, str] = field(default_factory=dict)
    released: int = 0
    failed: int = 0

    @property
    def now(self) -> Model | None:
        """The last reading, None where the last one failed: stale numbers are not shown."""
        return self.model if self.readable else None


def _of_model(get: Any) -> Any:
    return lambda watched: None if watched.now is None else get(watched.now)


def _level(watched: Watched) -> int | None:
    return None if watched.now is None or watched.verdict is None else int(watched.verdict.level)


def _findings(watched: Watched) -> Iterator[tuple[str, int]]:
    """The worst level of each finding that is more than a remark."""
    worst: dict[str, int] = {}
    if watched.now is not None and watched.verdict is not None:
        for finding in watched.verdict.findings:
            if finding.level > Level.OK:
                worst[finding.id] = max(worst.get(finding.id, 0), int(finding.level))
    return iter(worst.items())


def _alarms(watched: Watched) -> Iterator[tuple[str, int]]:
    return iter(Counter(cause or UNKNOWN for cause in watched.causes.values()).items())


def _chosen(names: tuple[str, ...], values: Mapping[str, int]) -> Iterator[tuple[str, float]]:
    return ((name, values[name]) for name in names if name in values)


# A value is a number, None where it is not known, or pairs of a further label and a number.
UNKNOWN: Final = "unknown"
"""The cause of an alarm that no finding explains."""
BY: Final = {"finding": "id", "alarms": "cause", "kernel_events": "event", "setting": "name"}
"""The further label of those metrics that have one."""
NAMESPACE_METRICS: Final[tuple[Field[Watched], ...]] = (
    Field("connections", "half-open connections", _of_model(lambda m: m.half_open)),
    Field(
        "readable",
        "1 when the last reading succeeded, else 0; stale numbers are then left out",
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
    Field("alarm", "1 while an alarm is on, else 0", lambda w: bool(w.causes)),
    Field(
        "alarms",
        "label `cause`: how many alarms are on, by the finding that explains them ([ids](verdicts.md)), or `unknown`",
        _alarms,
    ),
    Field("verdict", "the verdict, as `status` gives it: 0 ok, 1 notice, 2 warning, 3 critical", _level),
    Field(
        "finding",
        "label `id`: the level of a finding ([ids](verdicts.md)): 1 notice, 2 warning, 3 critical; else left out",
        _findings,
    ),
    Field("released", "connections released since the watch began", lambda w: w.released, kind=Kind.COUNTER),
    Field("release_failures", "connections that could not be released", lambda w: w.failed, kind=Kind.COUNTER),
    Field(
        "kernel_events",
        "label `event`: the kernel's own counters, `ListenDrops`, `SyncookiesSent`, …",
        _of_model(lambda m: _chosen(_EVENTS, m.sample.counters)),
        kind=Kind.COUNTER,
    ),
    Field(
        "setting",
        "label `name`: `tcp_synack_retries`, `tcp_syncookies`, …",
        _of_model(lambda m: m.sample.settings.items()),
    ),
)

LISTENER_METRICS: Final[tuple[Field[ListenerView], ...]] = (
    Field(
        "syn_queue",
        "requests in the SYN queue; deferred ones (`TCP_DEFER_ACCEPT`) hold a place in it too",
        lambda v: v.held,
    ),
    Field(
        "syn_queue_young",
        "requests in the SYN queue whose SYN-ACK was never retransmitted",
        lambda v: v.young if v.syn_queue_young is None else v.syn_queue_young,
    ),
    Field("syn_queue_limit", "capacity of the SYN queue", lambda v: v.syn_queue_limit),
    Field("accept_queue", "complete connections that wait for `accept()`", lambda v: v.accept_queue),
    Field("accept_queue_limit", "capacity of the accept queue", lambda v: v.accept_queue_limit),
    Field(
        "listener_drops",
        "SYNs and handshakes dropped since the listener was opened",
        lambda v: v.drops,
        kind=Kind.COUNTER,
    ),
    Field("listener_members", "sockets that listen here", lambda v: v.members),
    Field(
        "release_time_seconds",
        "when the kernel gives up, including its pruning of a queue more than half full",
        lambda v: v.effective_release_time_s,
        unit="s",
    ),
)
