"""The state of a watch as Prometheus metrics, in the text format that node_exporter's textfile collector reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from halfopen.core.fields.field import Field, Kind
from halfopen.core.fields.metrics import BY, LISTENER_METRICS, NAMESPACE_METRICS, Watched
from halfopen.core.policy.alarms import Alarm, CauseChanged, Clear, Telling
from halfopen.core.units import family_text
from halfopen.core.where import Namespace

if TYPE_CHECKING:
    from halfopen.core.findings.verdict import Verdict
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

    def reading(self, model: Model, verdict: Verdict | None = None) -> None:
        """A namespace was read; None: not judged, so that the verdict before holds."""
        watched = self._watched(model.sample.where)
        watched.model = model.bare()
        watched.verdict = verdict or watched.verdict

    def alarm(self, told: Telling) -> None:
        """An alarm began, changed or ended."""
        causes = self._watched(told.where).causes
        if isinstance(told, Alarm | CauseChanged):
            causes[told.listener] = told.cause
        elif isinstance(told, Clear):
            causes.pop(told.listener, None)

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
        for metric in NAMESPACE_METRICS:
            family = _family(metric, _NAMESPACE + ((BY[metric.name],) if metric.name in BY else ()))
            for watched in self._shown():
                for more, value in _samples(metric, watched):
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
class _Families(Collector):
    """Metrics, for the client library to write."""

    families: list[_Family]

    def collect(self) -> Iterator[_Family]:
        return iter(self.families)


@dataclass(slots=True)
class _Shown:
    """A listener as it is shown: its labels as text and, for each of LISTENER_METRICS, the value and the line."""

    labels: bytes
    view: ListenerView | None = None
    values: list[float | None] = field(default_factory=lambda: [None] * len(LISTENER_METRICS))
    lines: list[bytes] = field(default_factory=lambda: [b""] * len(LISTENER_METRICS))

    def update(self, view: ListenerView, names: Sequence[bytes]) -> None:
        """Make those lines anew whose value is another one now; `names` of the metrics' samples."""
        if view is self.view:
            return
        self.view = view
        for i, metric in enumerate(LISTENER_METRICS):
            value = _value(metric, view)
            if value != self.values[i]:
                self.values[i] = value
                self.lines[i] = b"" if value is None else names[i] + self.labels + _number(value) + b"\n"


class _Lines:
    """The metrics of listeners as text. The client library writes the labels of a listener once; after that only the
    lines with another value are made anew: of a thousand idle listeners, eight thousand lines stay as they are.
    """

    def __init__(self) -> None:
        self._shown: list[tuple[str, tuple[ListenerView, ...]]] | None = None
        self._text = b""
        self._of: dict[tuple[object, ...], _Shown] = {}
        families = [_family(metric, _LISTENER) for metric in LISTENER_METRICS]
        lines = generate_latest(_Families(families)).splitlines(keepends=True)
        self._heads = [b"".join(lines[i : i + _HEAD]) for i in range(0, len(lines), _HEAD)]
        self._names = [head.split(b" ", 3)[2] for head in self._heads]

    def text(self, shown: list[tuple[str, tuple[ListenerView, ...]]]) -> bytes:
        """All metrics of the listeners of namespaces."""
        before = self._shown
        if before is not None and [(n, id(v)) for n, v in before] == [(n, id(v)) for n, v in shown]:
            return self._text
        views = {(netns, *view.key): view for netns, listeners in shown for view in listeners}
        self._add({key: view for key, view in views.items() if key not in self._of})
        self._of = {key: self._of[key] for key in views}
        for one, view in zip(self._of.values(), views.values(), strict=True):
            one.update(view, self._names)
        pieces = []
        for i, head in enumerate(self._heads):
            pieces.append(head)
            pieces += [one.lines[i] for one in self._of.values()]
        self._shown, self._text = shown, b"".join(pieces)
        return self._text

    def _add(self, fresh: Mapping[tuple[object, ...], ListenerView]) -> None:
        family = GaugeMetricFamily("x", "", labels=_LISTENER)
        for (netns, *_), view in fresh.items():
            family.add_metric(_labels(str(netns), view), 0.0)
        lines = generate_latest(_Families([family])).split(b"\n")[_HEAD:-1]
        for key, line in zip(fresh, lines, strict=True):
            self._of[key] = _Shown(line[1 : line.rindex(b" ") + 1])


def _number(value: float) -> bytes:
    text: str = floatToGoString(value)  # type: ignore[no-untyped-call]
    return text.encode()


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
