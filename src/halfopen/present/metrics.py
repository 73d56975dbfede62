"""The state of a watch as Prometheus metrics, in the text format that Prometheus and node_exporter read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from halfopen.core.fields.metrics import LISTENER_METRICS, NAMESPACE_METRICS, WATCH_METRICS
from halfopen.core.fields.watched import Watched, Watching
from halfopen.core.metrics_text import MetricsText
from halfopen.core.policy.alarms import Alarm, CauseChanged, Clear, Telling
from halfopen.core.sample.closing import SocketCounts
from halfopen.core.sample.guard import Guards
from halfopen.core.units import family_text
from halfopen.core.where import Namespace
from halfopen.present.exposition import MetricTable

if TYPE_CHECKING:
    from halfopen.core.findings.verdict import Verdict
    from halfopen.core.model.handshake_times import HandshakeTimes
    from halfopen.core.model.listeners import ListenerView
    from halfopen.core.model.model import Model
    from halfopen.core.policy.actions import Released

_NAMESPACE: Final = ("netns",)
_LISTENER: Final = ("netns", "family", "address", "port", "ifindex")
# Prometheus keeps a series for each line: the number of lines has a limit, whatever comes and goes on the machine.
NAMESPACES_MOST: Final = 500
LISTENERS_MOST: Final = 4000

_ListenerKey = tuple[str, int, str, int, int]


class Metrics:
    """Collects what a watch reports; `text` is the state after the last report. watching: of the watch itself."""

    def __init__(self, watching: Watching | None = None) -> None:
        self.watching = watching or Watching()
        self._of: dict[Namespace, Watched] = {}
        self._own = MetricTable(WATCH_METRICS)
        self._spaces = MetricTable(NAMESPACE_METRICS, _NAMESPACE)
        self._listeners = MetricTable(LISTENER_METRICS, _LISTENER, frozen=True)
        self._read: list[tuple[str, tuple[ListenerView, ...]]] | None = None
        self._text = b""

    def reading(self, model: Model, verdict: Verdict | None = None, seconds: float = 0.0) -> None:
        """A namespace was read in that many seconds; None: not judged, so that the verdict before holds."""
        watched = self._watched(model.sample.where)
        watched.model = model if model.sample.depths else model.bare()
        watched.guards = model.sample.part(Guards)
        watched.sockets = model.sample.part(SocketCounts)
        watched.verdict = verdict or watched.verdict
        watched.readings += 1
        watched.readings_s += seconds

    def alarm(self, told: Telling) -> None:
        """An alarm began, changed or ended."""
        watched = self._watched(told.where)
        if isinstance(told, Alarm | CauseChanged):
            watched.alarms += isinstance(told, Alarm)
            watched.causes[told.listener] = told.cause
        elif isinstance(told, Clear):
            watched.causes.pop(told.listener, None)

    def released(self, outcome: Released) -> None:
        """Connections were released."""
        watched = self._watched(outcome.action.where)
        watched.released += outcome.released
        watched.failed += outcome.failed

    def handshakes(self, times: Mapping[int, HandshakeTimes]) -> None:
        """The times of handshakes since the watch began, by the inode of the namespace."""
        for watched in self._of.values():
            watched.handshakes = times.get(watched.inode)

    def round(self, watched: Iterable[Namespace], troubled: Iterable[Namespace]) -> None:
        """These namespaces are watched, those of them could not be read; any other is gone."""
        there, unread = {where: where for where in watched}, set(troubled)
        known = [there[where] for where in self._of if where in there]
        fresh = sorted((where for where in there if where not in self._of), key=lambda where: where.inode)
        self._of = {where: self._watched(where) for where in (*known, *fresh)}
        for where, one in self._of.items():
            one.readable = where not in unread

    def text(self) -> MetricsText:
        """The metrics in Prometheus's text format, version 0.0.4."""
        spaces = self._shown()
        listeners = self._listened(spaces.values())
        own = self._own.text({(): self.watching}, lambda key, one: ())
        return MetricsText(own + self._spaces.text(spaces, lambda name, one: (name,)), listeners)

    def _watched(self, where: Namespace) -> Watched:
        """The namespace's entry, under the name it has now."""
        watched = self._of.setdefault(where, Watched())
        watched.name, watched.lives_in, watched.inode = where.name, where.lives_in, where.inode
        return watched

    def _shown(self) -> dict[str, Watched]:
        """One entry a name: until a round ends, a namespace that is gone and its successor may have the same name."""
        named = {watched.name: watched for watched in self._of.values()}
        self.watching.namespaces = len(named)
        self.watching.namespaces_left_out = max(0, len(named) - NAMESPACES_MOST)
        if len(named) <= NAMESPACES_MOST:
            return named
        first = sorted(named.items(), key=lambda item: not item[1].causes)
        return dict(first[:NAMESPACES_MOST])

    def _listened(self, spaces: Iterable[Watched]) -> bytes:
        """The metrics of the listeners: the same text as before where a reading brought the very same views."""
        read = [(watched.name, watched.now.listeners) for watched in spaces if watched.now is not None]
        before, self._read = self._read, read
        if before is not None and [(n, id(views)) for n, views in before] == [(n, id(views)) for n, views in read]:
            return self._text
        self.watching.listeners_left_out = max(0, sum(len(views) for _, views in read) - LISTENERS_MOST)
        if self.watching.listeners_left_out:
            read = _fullest(read)
        listeners = {(netns, *view.key): view for netns, views in read for view in views}
        self._text = self._listeners.text(listeners, _labels)
        return self._text


def _fullest(read: list[tuple[str, tuple[ListenerView, ...]]]) -> list[tuple[str, tuple[ListenerView, ...]]]:
    """As many listeners of each namespace, the fullest, as there is room for in all."""
    room, found = LISTENERS_MOST, []
    by_size = sorted(read, key=lambda one: len(one[1]))
    for i, (netns, views) in enumerate(by_size):
        kept = views[: room // (len(by_size) - i)]
        room -= len(kept)
        found.append((netns, kept))
    return found


def _labels(key: _ListenerKey, view: ListenerView) -> tuple[str, ...]:
    return (key[0], family_text(view.family), view.address, str(view.port), str(view.ifindex))
