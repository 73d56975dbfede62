"""The state of a watch as Prometheus metrics, in the text format that node_exporter's textfile collector reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from halfopen.core.fields.field import Field, Kind
from halfopen.core.fields.metrics import BY, LISTENER_METRICS, NAMESPACE_METRICS, Watched
from halfopen.core.units import family_text

if TYPE_CHECKING:
    from halfopen.core.model.listeners import ListenerView
    from halfopen.core.model.model import Model
    from halfopen.core.policy.actions import Released

_PREFIX: Final = "halfopen_"
_NAMESPACE: Final = ("netns",)
_LISTENER: Final = ("netns", "family", "address", "port", "ifindex")

# HELP and TYPE stand above the lines of a metric.
_HEAD: Final = 2

_Family = GaugeMetricFamily | CounterMetricFamily


class Metrics:
    """Collects what a watch reports; `text` is the state after the last report."""

    def __init__(self) -> None:
        self._of: dict[str, Watched] = {}
        self._names: dict[int, str] = {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        self._lines = _Lines()

    def reading(self, model: Model) -> None:
        """A namespace was read."""
        where = model.sample.where
        # One that is named after a process is named anew when that ends.
        before = self._names.get(where.inode, where.name)
        if before != where.name and before in self._of:
            self._of[where.name] = self._of.pop(before)
        self._names[where.inode] = where.name
        self._watched(where.name).model = model.bare()

    def alarm(self, netns: str, on: bool) -> None:
        """An alarm began or ended."""
        self._watched(netns).alarm = on

    def released(self, outcome: Released) -> None:
        """Connections were released."""
        watched = self._watched(outcome.action.netns)
        watched.released += outcome.released
        watched.failed += outcome.failed

    def round(self, watched: Iterable[str], troubled: Iterable[str]) -> None:
        """These namespaces are watched, those of them could not be read; any other is gone."""
        names, unread = set(watched), set(troubled)
        self._of = {name: one for name, one in self._of.items() if name in names}
        self._names = {inode: name for inode, name in self._names.items() if name in names}
        for name in names:
            self._watched(name).readable = name not in unread

    def text(self) -> bytes:
        """The metrics in Prometheus's text format, version 0.0.4."""
        read = [(netns, w.model) for netns, w in self._of.items() if w.model is not None and w.readable]
        return generate_latest(self._registry) + self._lines.text([(netns, model.listeners) for netns, model in read])

    def collect(self) -> Iterator[_Family]:
        """For the registry: every metric of namespaces with all of its samples."""
        for field in NAMESPACE_METRICS:
            family = _family(field, _NAMESPACE + ((BY[field.name],) if field.name in BY else ()))
            for netns, watched in self._of.items():
                for more, value in _samples(field, watched):
                    family.add_metric([_plain(netns), *more], value)
            yield family

    def _watched(self, netns: str) -> Watched:
        return self._of.setdefault(netns, Watched())


@dataclass(frozen=True, slots=True)
class _Fresh(Collector):
    """The metrics of these listeners, for the client library."""

    views: list[tuple[str, ListenerView]]

    def collect(self) -> Iterator[_Family]:
        for field in LISTENER_METRICS:
            family = _family(field, _LISTENER)
            for netns, view in self.views:
                known = _value(field, view)
                if known is not None:
                    family.add_metric(_labels(netns, view), known)
            yield family


class _Lines:
    """The metrics of listeners as text. Made anew is only what belongs to listeners that are not those of last time:
    of a thousand that are idle, eight thousand lines stay as they are.
    """

    def __init__(self) -> None:
        self._shown: list[tuple[str, tuple[ListenerView, ...]]] | None = None
        self._text = b""
        # By namespace and id(view), with the view, so that the id stays its own: a line for each metric it has.
        self._of: dict[tuple[str, int], tuple[ListenerView, dict[str, bytes]]] = {}

    def text(self, shown: list[tuple[str, tuple[ListenerView, ...]]]) -> bytes:
        """All metrics of the listeners of namespaces."""
        before = self._shown
        if before is not None and [(n, id(v)) for n, v in before] == [(n, id(v)) for n, v in shown]:
            return self._text
        views = [(netns, view) for netns, listeners in shown for view in listeners]
        fresh = [(netns, view) for netns, view in views if (netns, id(view)) not in self._of]
        heads = self._add(fresh)
        self._of = {key: self._of[key] for key in ((netns, id(view)) for netns, view in views)}
        pieces = []
        for name, head in heads.items():
            pieces.append(head)
            pieces += [lines[name] for _, lines in self._of.values() if name in lines]
        self._shown, self._text = shown, b"".join(pieces)
        return self._text

    def _add(self, fresh: list[tuple[str, ListenerView]]) -> dict[str, bytes]:
        """Add the lines of these listeners. Returns what stands above those of each metric."""
        for netns, view in fresh:
            self._of[netns, id(view)] = (view, {})
        heads = {}
        rest = generate_latest(_Fresh(fresh)).splitlines(keepends=True)
        for field in LISTENER_METRICS:
            has = [(netns, view) for netns, view in fresh if _value(field, view) is not None]
            heads[field.name] = b"".join(rest[:_HEAD])
            for (netns, view), line in zip(has, rest[_HEAD:], strict=False):
                self._of[netns, id(view)][1][field.name] = line
            rest = rest[_HEAD + len(has) :]
        return heads


def _family(field: Field[Any], labels: tuple[str, ...]) -> _Family:
    kind = CounterMetricFamily if field.kind is Kind.COUNTER else GaugeMetricFamily
    return kind(_PREFIX + field.name, field.plain_help, labels=labels)


def _plain(text: str) -> str:
    # A file name may hold bytes that are no text.
    return text.encode("utf-8", "backslashreplace").decode()


def _labels(netns: str, view: ListenerView) -> list[str]:
    return [_plain(netns), family_text(view.family), view.address, str(view.port), str(view.ifindex)]


def _samples(field: Field[Watched], watched: Watched) -> Iterator[tuple[tuple[str, ...], float]]:
    """The metric's samples of a namespace: the label it has besides the namespace's, if any, and the value."""
    value = None if field.get is None else field.get(watched)
    if value is None:
        return
    if field.name in BY:
        for label, number in value:
            yield (label,), float(number)
    else:
        yield (), float(value)


def _value(field: Field[ListenerView], view: ListenerView) -> float | None:
    return None if field.get is None else field.get(view)
