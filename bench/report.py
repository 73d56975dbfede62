"""The report: every figure of one run, the targets it met or missed, as a table of at most 100 columns and as JSON."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

import adversary
import costs
import eyes
import flooded
import scenes
import waiting
from adversary import Adversary
from costs import Idle, Timed
from eyes import Eyes
from flooded import Flooded, Whole
from handshaking import Handshaking, as_lines
from reading import Reading, Row
from releasing import Releasing, Run
from scenes import Scenes
from starting import Start
from waiting import Waiting

SCHEMA: Final = "halfopen.bench/1"
WIDTH: Final = 100
# The sizes the targets are for.
READ_AT: Final = 1_000_000
RELEASE_AT: Final = 300_000
SLOW_AT: Final = 50_000
FLOOD_AT: Final = 50_000
WHOLE_AT: Final = 1_000_000
LISTENERS_AT: Final = 1000
DESCRIPTORS_AT: Final = 1_000_000
NAMESPACES_AT: Final = 500


@dataclass(slots=True)
class Report:
    """All of one run. `lab_rates` are SYNs a second; parts that were not asked for are empty. failed: why, by part."""

    time: str
    command: str
    machine: dict[str, str]
    loads: list[float] = field(default_factory=list)
    seconds: float = 0.0
    readings: list[Reading] = field(default_factory=list)
    releasing: Releasing | None = None
    adversary: Adversary | None = None
    scenes: Scenes | None = None
    flooded: Flooded | None = None
    whole: Whole | None = None
    waiting: Waiting | None = None
    eyes: Eyes | None = None
    handshaking: Handshaking | None = None
    owners: Timed | None = None
    namespaces: Timed | None = None
    idle: Idle | None = None
    starts: list[Start] = field(default_factory=list)
    lab_rates: list[float] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Target:
    """What was wanted and what came of it. `met` is None where the set was smaller than the one the target is for.

    `note`: the evidence that a miss is not ours alone.
    """

    name: str
    wanted: str
    got: str
    met: bool | None
    note: str = ""


def targets(report: Report) -> list[Target]:
    """The targets that this run has figures for."""
    found: list[Target] = []
    if report.readings:
        largest = max(report.readings, key=lambda r: r.half_open)
        found += _judged(_reading_targets(largest), largest.half_open >= READ_AT)
    if report.releasing is not None:
        found += _judged(_speed_targets(report.releasing), report.releasing.half_open >= RELEASE_AT)
        found += _harm_targets(report.releasing)
    if report.adversary is not None:
        found += _judged(_adversary_targets(report.adversary), report.adversary.clients >= SLOW_AT)
    if report.scenes is not None:
        found += _scene_targets(report.scenes)
    found += _release_targets(report)
    if report.eyes is not None and not report.eyes.missing:
        large = report.eyes.half_open >= READ_AT and report.eyes.listeners >= LISTENERS_AT
        found += _judged(_eyes_targets(report.eyes), large)
    if report.handshaking is not None and report.handshaking.with_s:
        found.append(_at_most("counting handshakes adds", report.handshaking.overhead * 100, 5, unit="%"))
    found += _cost_targets(report)
    by_name = {start.name: start.median_s for start in report.starts}
    for name in ("help", "status"):
        if name in by_name:
            word = "--help" if name == "help" else name
            found.append(_at_most(f"halfopen {word} / import numpy", by_name[name] / by_name["numpy"], 3))
    if report.lab_rates:
        found.append(_at_least("SYNs a second from one core", statistics.median(report.lab_rates), 100_000))
    return found


def _judged(found: Iterator[Target], large_enough: bool) -> list[Target]:
    return [target if large_enough else replace(target, met=None, note="") for target in found]


def _at_most(name: str, got: float, wanted: float, note: str = "", unit: str = "x") -> Target:
    return Target(name, f"<= {wanted:g} {unit}", f"{got:.2f} {unit}", got <= wanted, "" if got <= wanted else note)


def _at_least(name: str, got: float, wanted: float, unit: str = "") -> Target:
    shown = f"{got:,.0f}" if got >= 100 else f"{got:.1f}"
    return Target(name, f">= {wanted:,.0f} {unit}".rstrip(), f"{shown} {unit}".rstrip(), got >= wanted)


def _reading_targets(reading: Reading) -> Iterator[Target]:
    at = f"at {reading.half_open:,}: "
    floor, snapshot, status, ss = (reading.row(name) for name in ("floor", "snapshot", "status", "ss"))
    yield _at_most(f"{at}snapshot / floor", snapshot.median_s / floor.median_s, 1.6)
    raw = reading.row("bytes_of_census")
    if not raw.missing:
        yield _at_most(f"{at}eBPF census / floor", raw.median_s / floor.median_s, 1.0)
    if not ss.missing:
        share = floor.median_s / ss.median_s
        for row, wanted in ((snapshot, 1 / 4), (status, 1 / 3)):
            note = f"the dump alone, thrown away, takes {share:.2f} of ss" if share > wanted / 1.6 else ""
            got = row.median_s / ss.median_s
            name = "status --instant" if row is status else row.name
            yield _at_most(f"{at}{name} / ss", got, round(wanted, 2), note)
    yield _at_most(f"{at}peak RSS of status", status.rss_bytes / 1e6, 200, unit="MB")


def _speed_targets(releasing: Releasing) -> Iterator[Target]:
    ours = releasing.ours
    yield _at_least("released a second, door held", releasing.per_s(ours), 150_000)
    if releasing.narrow:
        narrow = releasing.per_s(releasing.narrow)
        yield _at_least("released a second, narrow window", narrow, 400_000)
        if releasing.ss:
            yield _at_least("narrow window / ss -K, a second", narrow / releasing.per_s(releasing.ss), 5, "x")


def _adversary_targets(result: Adversary) -> Iterator[Target]:
    lost = result.resets(adversary.DOOR)
    yield Target("completed connections reset, door held", "0", f"{lost:,}", lost == 0)
    some = result.resets(adversary.SS)
    yield Target("completed connections reset by ss -K", "some", f"{some:,}", some > 0)
    others = result.p99_s(adversary.DOOR) / result.p99_s(adversary.NOTHING)
    target = _at_most("p99 of others, door held / no releases", others, 1.1)
    yield replace(target, met=None, note="") if result.not_elsewhere else target


def _scene_targets(result: Scenes) -> Iterator[Target]:
    """Without releases as well: a counter that moves by itself would make the others worthless."""
    for way in (scenes.NOTHING, scenes.OURS, scenes.TABLE):
        if way in result.missing:
            continue
        harmed = result.harmed(way)
        yield Target(f"finished ones hit: {way}", "0", f"{harmed:,}", harmed == 0)
    enough = result.clients >= SLOW_AT
    for name, runs in result.runs.items():
        if enough and scenes.SS in runs and not runs[scenes.SS].harmed:
            yield Target(f"hit by ss -K: {name}", "some", "0", False)
        for run in runs.values():
            if run.clients * 10 <= abs(run.missed) and run.released is not None:
                yield Target(f"not accounted for: {name}", "few", f"{run.missed:,}", False)


def _release_targets(report: Report) -> Iterator[Target]:
    if (flood := report.flooded) is not None:
        found = [_at_least("released a second under a flood", flood.per_s(), 100_000)]
        each_s = flood.watch_s / flood.readings if flood.readings else flood.watch_s
        found.append(_at_most("seconds a reading of a watch there", each_s, 1.5, unit="s"))
        yield from _judged(iter(found), flood.rate >= FLOOD_AT)
    if (whole := report.whole) is not None:
        million = _at_least("released a second, whole process", whole.per_s(), 400_000)
        yield from _judged(iter([million]), whole.half_open >= WHOLE_AT)


def _eyes_targets(result: Eyes) -> Iterator[Target]:
    yield _at_most("pulse with the connections", result.median_ms(eyes.OWN, "pulse"), 1, unit="ms")
    yield _at_most("pulse beside them, without any", result.median_ms(eyes.OTHER, "pulse"), 2, unit="ms")


def _cost_targets(report: Report) -> Iterator[Target]:
    if report.owners is not None:
        status = _at_most("status beside others' open files", report.owners.median_s(costs.STATUS), 0.6, unit="s")
        yield from _judged(iter([status]), report.owners.beside >= DESCRIPTORS_AT)
    if report.namespaces is not None:
        every = _at_most("status --netns all", report.namespaces.median_s(costs.STATUS), 2, unit="s")
        yield from _judged(iter([every]), report.namespaces.beside >= NAMESPACES_AT)
    for n, metrics, share in report.idle.shares if report.idle else ():
        if n == 1 and metrics:
            continue
        name = f"core for an idle watch, {n:,} listener{'s' * (n > 1)}{', metrics' * metrics}"
        one = _at_most(name, share * 100, 0.3 if n == 1 else 1, unit="%")
        yield from _judged(iter([one]), n == 1 or n >= LISTENERS_AT)


def _harm_targets(releasing: Releasing) -> Iterator[Target]:
    ours = releasing.ours
    left, lost = sum(run.left for run in ours), sum(run.honest_lost for run in ours)
    yield Target("half-open connections left", "0", f"{left:,}", left == 0)
    yield Target("honest connections lost", "0", f"{lost:,}", lost == 0)


def as_json(report: Report) -> dict[str, Any]:
    """The document of --json: every single run in seconds, medians, and the targets."""
    document = asdict(report)
    for reading, plain in zip(report.readings, document["readings"], strict=True):
        plain["agreed"] = reading.agreed
        for row, one in zip(reading.rows, plain["rows"], strict=True):
            one["median_s"] = row.median_s if row.runs_s else None
    return {"schema": SCHEMA, **document, "targets": [asdict(target) for target in targets(report)]}


def as_text(report: Report) -> str:
    """The table."""
    head = f"halfopen benchmark, {report.time}, {report.seconds / 60:.1f} minutes: {report.command}"
    lines = textwrap.wrap(head, WIDTH)
    lines += _machine(report)
    for reading in report.readings:
        lines += ["", *_reading(reading)]
    if report.releasing is not None:
        lines += ["", *_releasing(report.releasing)]
    if report.adversary is not None:
        lines += ["", *(part for line in adversary.as_lines(report.adversary) for part in _wrapped(line))]
    if report.scenes is not None:
        lines += ["", *(part for line in scenes.as_lines(report.scenes) for part in _wrapped(line))]
    if report.flooded is not None:
        lines += ["", *flooded.flood_lines(report.flooded)]
    if report.whole is not None:
        lines += ["", *flooded.whole_lines(report.whole)]
    if report.waiting is not None:
        lines += ["", *waiting.as_lines(report.waiting)]
    if report.eyes is not None:
        lines += ["", *eyes.as_lines(report.eyes)]
    if report.handshaking is not None:
        lines += ["", *(part for line in as_lines(report.handshaking) for part in _wrapped(line))]
    if report.owners is not None:
        lines += ["", *costs.owners_lines(report.owners)]
    if report.namespaces is not None:
        lines += ["", *costs.namespaces_lines(report.namespaces)]
    if report.idle is not None:
        lines += ["", *costs.idle_lines(report.idle)]
    if report.starts:
        lines += ["", *_starts(report.starts)]
    if report.lab_rates:
        runs = ", ".join(f"{rate:,.0f}" for rate in report.lab_rates)
        lines += ["", "Lab: SYNs a second from one core, both kernels' work included"]
        lines.append(f"  median {statistics.median(report.lab_rates):,.0f}  (runs: {runs})")
    lines += ["", *_targets(targets(report))]
    lines += [part for name, why in report.failed.items() for part in _wrapped(f"Part {name} has no figures: {why}")]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _machine(report: Report) -> list[str]:
    machine = dict(report.machine)
    line = f"Linux {machine.pop('kernel')}; {machine.pop('cpu')}, {machine.pop('cores')} cores, "
    line += f"{machine.pop('memory')}; "
    line += ", ".join(f"{name} {value}" for name, value in machine.items())
    line += f"; load {' to '.join(f'{load:.1f}' for load in report.loads)}"
    return textwrap.wrap(line, WIDTH)


def _wrapped(line: str) -> list[str]:
    return textwrap.wrap(line, WIDTH, subsequent_indent="    ", drop_whitespace=True)


def _ms(seconds: float) -> str:
    ms = seconds * 1000
    return f"{ms:,.0f}" if ms >= 100 else f"{ms:.1f}"


def _times(value: float) -> str:
    return f"{value:.2f} x" if value < 10 else f"{value:,.1f} x" if value < 1000 else f"{value:,.0f} x"


_READING: Final = "  {:<41}{:>9}{:>9}{:>5}{:>10}{:>8}{:>6}{:>10}"


def _reading(reading: Reading) -> list[str]:
    lines = [f"Reading {reading.half_open:,} half-open connections (milliseconds, on the same sockets)"]
    lines.append(_READING.format("", "median", "least", "runs", "/ floor", "/ ss", "MB", "reported"))
    floor, ss = reading.row("floor"), reading.row("ss")
    for row in reading.rows:
        if row.missing:
            lines.append(f"  {row.label:<41}  {row.missing}")
            continue
        against = [_times(row.median_s / other.median_s) if not other.missing else "-" for other in (floor, ss)]
        size = f"{row.rss_bytes / 1e6:,.0f}"
        least, n = _ms(min(row.runs_s)), len(row.runs_s)
        runs = f"{n}{'*' * bool(row.disturbed)}"
        lines.append(_READING.format(row.label, _ms(row.median_s), least, runs, *against, size, f"{row.said:,}"))
    disturbed = sum(row.disturbed for row in reading.rows)
    if disturbed:
        lines.append(f"  * {disturbed} of all these runs were disturbed by other processes, and again when repeated")
    return lines


_RELEASE: Final = "  {:<28}{:>12}{:>10}{:>6}{:>7}{:>16}{:>8}{:>11}"


def _releasing(releasing: Releasing) -> list[str]:
    lines = [f"Releasing {releasing.half_open:,} half-open connections (medians; honest connections alive / made)"]
    lines.append(_RELEASE.format("", "a second", "seconds", "runs", "left", "honest", "resets", "window ms"))
    for label, runs, missing in (
        ("halfopen, door held", releasing.ours, ""),
        ("halfopen, nf_tables door", releasing.table, ""),
        ("halfopen, narrow window", releasing.narrow, ""),
        ("ss -HntK state syn-recv", releasing.ss, releasing.ss_missing),
    ):
        lines.append(_release(label, runs) if runs else f"  {label:<28}  {missing}")
    if releasing.ss:
        ratio = releasing.per_s(releasing.ours) / releasing.per_s(releasing.ss)
        lines.append(f"  halfopen, door held / ss -K: {ratio:.1f} x")
    if any(run.disturbed for run in releasing.ours + releasing.table + releasing.narrow + releasing.ss):
        lines.append("  * some of these runs were disturbed by other processes, and again when repeated")
    windows = releasing.windows_ms()
    if windows:
        lines.append(
            f"  Between look and destroy, the usual time of each run: median {statistics.median(windows):.2f} ms, "
            f"worst {max(windows):.2f} ms"
        )
    return lines


def _release(label: str, runs: list[Run]) -> str:
    made = sum(run.before + run.during for run in runs)
    resets = [run.resets for run in runs if run.resets is not None]
    windows = [run.window_ms for run in runs if run.window_ms is not None]
    return _RELEASE.format(
        label,
        f"{statistics.median(run.per_s for run in runs):,.0f}",
        f"{statistics.median(run.seconds for run in runs):.3f}",
        f"{len(runs)}{'*' * any(run.disturbed for run in runs)}",
        f"{sum(run.left for run in runs):,}",
        f"{made - sum(run.honest_lost for run in runs):,} / {made:,}",
        f"{sum(resets):,}" if resets else "-",
        f"{statistics.median(windows):.2f}" if windows else "-",
    )


_START: Final = "  {:<42}{:>9}{:>9}{:>5}{:>17}"


def _starts(starts: list[Start]) -> list[str]:
    numpy = next(start for start in starts if start.name == "numpy")
    lines = ["Start-up, whole processes (milliseconds; byte code compiled before, one BLAS thread each)"]
    lines.append(_START.format("", "median", "least", "runs", "/ import numpy"))
    for start in starts:
        ratio = _times(start.median_s / numpy.median_s)
        lines.append(_START.format(start.label, _ms(start.median_s), _ms(min(start.runs_s)), len(start.runs_s), ratio))
    return lines


_TARGET: Final = "  {:<43}{:>13}{:>13}   {}"


_VERDICT: Final = {True: "met", False: "MISSED", None: "(not judged at this size)"}


def _targets(found: list[Target]) -> list[str]:
    lines = ["Targets", _TARGET.format("", "wanted", "got", "")]
    for target in found:
        lines.append(_TARGET.format(target.name, target.wanted, target.got, _VERDICT[target.met]))
        if target.note:
            lines.append(f"      {target.note}")
    return lines


__all__ = ["Report", "Row", "Target", "as_json", "as_text", "targets"]
