"""One Sample of one namespace: its head, and the parts that the requested probes read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

from msgspec.structs import replace

from halfopen.core.errors import HalfopenError
from halfopen.core.sample import Completeness, Head, Sample
from halfopen.core.units import plural
from halfopen.core.where import Namespace
from halfopen.linux import identity, netns
from halfopen.linux.netns import Netns
from halfopen.read import head, procfs, sockdiag
from halfopen.read.probe import Draft, Probe, as_root
from halfopen.read.who_listens import add_owners

T = TypeVar("T")

SETTINGS_S: Final = 5.0
"""How often settings are read again while nothing changes at the listeners, s."""


def read(
    ns: Netns | None = None,
    probes: Sequence[Probe] = (),
    *,
    way: str = "auto",
    with_owners: bool = True,
    with_options: bool = False,
    before: Head | None = None,
) -> Sample:
    """Read one Sample of a namespace (None: the process's own).

    way: "auto", or one of WAYS, which is then the only one tried. before: the previous reading of the
    namespace: what has not changed is taken from it (the same objects); settings are read again after SETTINGS_S at the
    latest.

    with_owners: find the processes that listen. with_options: ask the listeners' sockets whether they defer connections
    (TCP_DEFER_ACCEPT) if nothing else tells, which also takes a search through all processes. Cheap repeated readings
    use neither.

    Raises: UnknownTarget, NotPermitted, Unsupported, KernelError, WireError.
    """
    sample = _read(ns, probes, way, before)
    return add_owners([sample], names=with_owners)[0] if with_owners or with_options else sample


def read_all(
    asked: Callable[[], tuple[Sequence[Probe], T]],
    *,
    way: str = "auto",
    with_owners: bool = True,
    with_options: bool = False,
) -> tuple[list[tuple[Sample, T]], list[str]]:
    """A Sample of every namespace of the machine, and a line for each that could not be read. A namespace that vanishes
    meanwhile is left out silently.

    asked: called for each namespace; returns its probes, and an object that is returned beside its Sample. Settings are
    not read in a namespace in which nothing listens and to which no segment ever came: they have no effect there,
    hundreds of such namespaces are common, and their settings would take half the time of the reading.
    """
    from halfopen.read.discover import discover

    found = discover()
    samples: list[Sample] = []
    beside: list[T] = []
    skipped: list[str] = []
    if found.refused:
        skipped.append(f"the namespaces of {plural(found.refused, 'process', 'processes')} are hidden{as_root()}")
    if found.passed_over:
        skipped.append(
            f"{plural(found.passed_over, 'process', 'processes')} with very many descriptors not searched: a "
            "namespace that only one of them holds may be missing"
        )
    moved: set[int] = set()

    def take(namespaces: Sequence[Netns], *, last: bool) -> None:
        for ns in namespaces:
            probes, one = asked()
            try:
                samples.append(_read(ns, probes, way, at_rest=False))
                beside.append(one)
            except HalfopenError as e:
                if last or not netns.is_gone(ns):
                    skipped.append(f"{ns.name}: skipped: {e.message}")
                else:
                    moved.add(ns.inode)

    take(found.namespaces, last=False)
    if moved:  # the process whose path was used has ended; the namespace may have others
        take([ns for ns in discover().namespaces if ns.inode in moved], last=True)
    if with_owners or with_options:
        samples = add_owners(samples, names=with_owners)
    return list(zip(samples, beside, strict=True)), skipped


def _read(
    ns: Netns | None, probes: Sequence[Probe], way: str, before: Head | None = None, *, at_rest: bool = True
) -> Sample:
    """at_rest: read the settings also where nothing listens and no segment ever came."""

    def work() -> tuple[Namespace, Draft, Head | None, list[object], Mapping[str, int]]:
        where = identity.of_thread(ns)
        for probe in probes:
            probe.prepare(way)
        old = before if before is not None and before.where == where else None
        draft = head.begin(way, old)
        draft.tables = procfs.counter_tables()
        draft.counters = procfs.counters(draft.tables)
        parts = [part for probe in probes if (part := _part(probe, draft)) is not None]
        same = old if old is not None and draft.listeners is old.listeners else None
        return where, draft, same, parts, _settings(draft, old, at_rest)

    where, draft, same, parts, settings = (ns or netns.current()).run(work)
    problems = [*draft.problems, sockdiag.INTERRUPTED] if draft.interrupted else draft.problems
    # The notes of an earlier search for the owners of the same listeners.
    told = same.completeness if same is not None and not draft.notes else Completeness(notes=tuple(draft.notes))
    return Sample(
        where=where,
        host=identity.host(),
        listeners=draft.listeners,
        queues=draft.queues,
        counters=draft.counters,
        settings=settings,
        monotonic_s=draft.looked_at[0],
        wall_s=draft.looked_at[1],
        owners={} if same is None else same.owners,
        options={} if same is None else same.options,
        completeness=replace(told, source=draft.source, interrupted=draft.interrupted, problems=tuple(problems)),
        parts=tuple(parts),
        digest=draft.digest,
    )


def _settings(draft: Draft, before: Head | None, at_rest: bool) -> Mapping[str, int]:
    """The settings; those of the previous reading while nothing else changes, for SETTINGS_S."""
    if not at_rest and not len(draft.listeners) and not draft.ever_reached:
        return {}
    if before is None or draft.listeners is not before.listeners:
        return procfs.settings()
    due = draft.looked_at[0] // SETTINGS_S != before.monotonic_s // SETTINGS_S
    return procfs.settings() if due else before.settings


def _part(probe: Probe, draft: Draft) -> object:
    """The part that a probe reads. None if it failed and is not vital: the draft then has a note."""
    try:
        return probe.read(draft)
    except HalfopenError as e:
        if probe.vital:
            raise
        draft.notes.append(f"{probe.name}: not read ({' or '.join(probe.needs)}): {e.message}")
        return None
