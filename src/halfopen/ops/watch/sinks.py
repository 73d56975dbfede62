"""Where a watch's reports go: sinks, each of which takes every report, and the registry of the kinds there are.

A new kind of sink is a file with a class that takes reports, and an entry in KINDS: the option of `watch` and the key
of its configuration file are made from that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from halfopen.core.reports import Report, Trouble


class Sink(Protocol):
    """Takes what a watch reports, from `Begun` to `Ended`."""

    def take(self, event: Report) -> Trouble | None:
        """Take in a report. Returns what the other sinks are to tell of this one: that it cannot do its work, once when
        that begins. Raises nothing that would end the watch.
        """


def tell(sinks: Sequence[Sink], event: Report) -> None:
    """Hand a report to every sink, and what goes wrong with one of them to the others."""
    for sink in sinks:
        trouble = sink.take(event)
        if trouble is not None:
            for other in sinks:
                if other is not sink:
                    other.take(trouble)


@dataclass(frozen=True, slots=True)
class SinkKind:
    """A kind of sink. option: of `watch`, whose value is the sink's target (a FILE …); make: the sink for a target
    and the version of halfopen.
    """

    option: str
    metavar: str
    help: str
    make: Callable[[str, str], Sink]

    @property
    def key(self) -> str:
        """Its name in the configuration file."""
        return self.option.removeprefix("--").replace("-", "_")


def _metrics_file(path: str, version: str) -> Sink:
    from halfopen.ops.watch.export import Export
    from halfopen.ops.watch.metrics_file import MetricsFile

    return Export([MetricsFile(path)], version)


KINDS: Final = (
    SinkKind(
        "--metrics-file",
        "FILE",
        "Write Prometheus metrics to this file (FILE.prom, for node_exporter).",
        _metrics_file,
    ),
)


def wanted(targets: Mapping[str, str | None], version: str = "") -> list[Sink]:
    """The sinks of these targets, by key; None: not wanted. version: of halfopen. Raises: UsageError, HalfopenError."""
    found = [(kind, targets.get(kind.key)) for kind in KINDS]
    return [kind.make(target, version) for kind, target in found if target is not None]
