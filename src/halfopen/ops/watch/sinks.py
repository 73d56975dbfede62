"""The sinks of a watch, each of which takes every report, and the registry of their kinds.

A new kind of sink is a file with a class that takes reports, and an entry in KINDS: the options of `watch` and the keys
of its configuration file are made from that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from msgspec import Struct

from halfopen.core.errors import Unfit, UsageError
from halfopen.core.sections.words import duration

if TYPE_CHECKING:
    from halfopen.core.fields.watched import Watching
    from halfopen.core.reports import Report, Trouble
    from halfopen.ops.watch.export import Output

# How long history may be kept.
_KEPT_LEAST_S: Final = 86400.0
_KEPT_MOST_S: Final = 3650 * 86400.0

Targets = Mapping[str, str | bool | None]
"""The options of sinks: the value of each by its key; None and False: it was not given."""


class Sink(Protocol):
    """Takes the reports of a watch, from `Begun` to `Ended`."""

    def take(self, event: Report) -> Trouble | None:
        """Process a report. Returns a trouble for the other sinks to report, once when this one cannot do its work.
        Must not raise, as that would end the watch.
        """


class World(Protocol):
    """A process that talks to the outside for the watch."""

    def serve_metrics(self, where: str, *, anywhere: bool) -> Output:
        """Serve metrics at an address. Raises: UsageError, HalfopenError."""

    def tell_of_itself(self, watching: Watching) -> None:
        """Fill in the metrics about that process."""


def tell(sinks: Sequence[Sink], event: Report) -> None:
    """Pass a report to every sink, and the trouble of a sink to the others."""
    for sink in sinks:
        trouble = sink.take(event)
        if trouble is not None:
            for other in sinks:
                if other is not sink:
                    other.take(trouble)


class SinkOption(Struct, frozen=True):
    """An option of `watch` that concerns a sink. metavar: of its value; "": it is a flag, without a value. name: in the
    configuration file, where that is another than the option's.
    """

    option: str
    metavar: str
    help: str
    name: str = ""

    @property
    def key(self) -> str:
        """Its name at the top of the configuration file; `a_b` may also stand as `b` in the section `[a]`."""
        return self.name or self.option.removeprefix("--").replace("-", "_")


class SinkKind(Struct, frozen=True):
    """A kind of sink. make: the sink for those of its options that were given, by key, the version of halfopen, and the
    process that talks to the world, where there is one. check: says what is wrong with the values in a configuration
    file, as far as that can be told without making the sink; raises Unfit.
    """

    options: tuple[SinkOption, ...]
    make: Callable[[Targets, str, World | None], Sink]
    check: Callable[[Targets], None] = lambda targets: None


def _metrics(targets: Targets, version: str, world: World | None) -> Sink:
    from halfopen.ops.watch.export import Export
    from halfopen.ops.watch.metrics_file import MetricsFile
    from halfopen.ops.watch.metrics_server import MetricsServer

    file, listen = targets.get("metrics_file"), targets.get("metrics_listen")
    outputs: list[Output] = []
    if file is not None:
        outputs.append(MetricsFile(str(file)))
    if listen is not None:
        serve = MetricsServer if world is None else world.serve_metrics
        outputs.append(serve(str(listen), anywhere=bool(targets.get("metrics_listen_anywhere"))))
    if not outputs:
        raise UsageError("--metrics-listen-anywhere without an address", hint="add --metrics-listen ADDRESS:PORT")
    return Export(outputs, version, None if world is None else world.tell_of_itself)


def _check_metrics(targets: Targets) -> None:
    from halfopen.core.sections.served import served_address
    from halfopen.ops.watch.metrics_file import MetricsFile

    file, listen = targets.get("metrics_file"), str(targets.get("metrics_listen") or "")
    if file:
        try:
            MetricsFile(str(file))
        except UsageError:
            raise Unfit("metrics_file", "does not end in .prom", hint="node_exporter reads only such files") from None
    if listen and "/" not in listen:
        served_address(listen, anywhere=bool(targets.get("metrics_listen_anywhere")), key="metrics_listen")


def _check_history(targets: Targets) -> None:
    if not (keep := targets.get("history_keep")):
        return
    try:
        duration(_KEPT_LEAST_S, _KEPT_MOST_S).read(keep)
    except UsageError as e:
        raise Unfit("history_keep", e.message, hint=e.hint) from None


def _history(targets: Targets, version: str, world: World | None) -> Sink:
    from halfopen.ops.watch.history import make

    if targets.get("history_path") is None:
        raise UsageError("--history-keep and --history-anew need --history", hint="add --history DIR")
    keep = targets.get("history_keep")
    return make(
        str(targets["history_path"]),
        None if keep is None else str(keep),
        version,
        anew=bool(targets.get("history_anew")),
    )


KINDS: Final = (
    SinkKind(
        (
            SinkOption(
                "--metrics-file", "FILE", "Write Prometheus metrics to this file (FILE.prom, for node_exporter)."
            ),
            SinkOption(
                "--metrics-listen",
                "ADDRESS:PORT|PATH",
                "Serve Prometheus metrics at http://ADDRESS:PORT/metrics, or on a Unix socket (a PATH with a /).",
            ),
            SinkOption(
                "--metrics-listen-anywhere", "", "Let --metrics-listen take an address that other hosts can reach."
            ),
        ),
        _metrics,
        _check_metrics,
    ),
    SinkKind(
        (
            SinkOption(
                "--history", "FILE|DIR", "Record values, incidents and their flight records here.", name="history_path"
            ),
            SinkOption("--history-keep", "T", "Keep them for this long (default 400d)."),
            SinkOption("--history-anew", "", "Move a damaged history file aside and begin a new one."),
        ),
        _history,
        _check_history,
    ),
)


def options() -> list[SinkOption]:
    """The options of all kinds."""
    return [option for kind in KINDS for option in kind.options]


def keys() -> dict[str, type]:
    """The keys of all kinds in the configuration file, and the types of their values."""
    return {option.key: str if option.metavar else bool for option in options()}


def check(targets: Targets) -> None:
    """Check the values that a configuration file has for sinks. Raises: Unfit."""
    for kind in KINDS:
        kind.check(targets)


def wanted(targets: Targets, version: str = "", world: World | None = None) -> list[Sink]:
    """The sinks of these targets. version: of halfopen. world: as in `SinkKind`. Raises: UsageError, HalfopenError."""
    made = []
    for kind in KINDS:
        given = {option.key: targets.get(option.key) for option in kind.options}
        chosen = {key: value for key, value in given.items() if value not in (None, False)}
        if chosen:
            made.append(kind.make(chosen, version, world))
    return made
