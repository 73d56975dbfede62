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
from halfopen.core.where import Namespace

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
        self._of: dict[Namespace, Watched] = {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        self._lines = _Lines()

    def reading(self, model: Model) -> None:
        """A namespace was read."""
        self._watched(model.sample.where).model = model.bare()

    def alarm(self, where: Namespace, on: bool) -> None:
        """An alarm began or ended."""
        self._watched(where).alarm = on

    def released(self, outcome: Released) -> None:
        """Connections were released."""
        watched = self._watched(outcome.action.where)
        watched.released += outcome.released
        watched.failed += outcome.failed

    def round(self, watched: Iterable[Namespace], troubled: Iterable[Namespace]) -> None:
        """These namespaces are watched, those of them could not be read; any other is gone."""
        there, unread = list(watched), set(troubled)
        self._of = {where: self._watched(where) for where in there}
        for where, one in self._of.items():
            one.readable = where not in unread

    def text(self) -> bytes:
        """The metrics in Prometheus's text format, version 0.0.4."""
        read = [(w.name, w.model) for w in self._shown() if w.model is not None and w.readable]
        return generate_latest(self._registry) + self._lines.text([(netns, model.listeners) for netns, model in read])

    def collect(self) -> Iterator[_Family]:
        """For the registry: every metric of namespaces with all of its samples."""
        for field in NAMESPACE_METRICS:
            family = _family(field, _NAMESPACE + ((BY[field.name],) if field.name in BY else ()))
            for watched in self._shown():
                for more, value in _samples(field, watched):
                    family.add_metric([_plain(watched.name), *more], value)
            yield family

    def _watched(self, where: Namespace) -> Watched:
        """The namespace's entry, under the name it has now."""
        watched = self._of.setdefault(where, Watched(where.name))
        watched.name = where.name
        return watched

    def _shown(self) -> Iterable[Watched]:
        """One entry a name: until a round ends, a namespace that is gone and its successor may have the same name."""
        return {watched.name: watched for watched in self._of.values()}.values()


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
