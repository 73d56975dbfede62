"""Kept values as lines over time, with what is known of the time between them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from halfopen.core.history import KeptSeries, Slot, Tier, WatchedSpan

# More points than these are not seen, and only make the file large.
POINTS_MOST: Final = 360
PlotPoint = tuple[float, float]
PlotPiece = tuple[PlotPoint, ...]


class Plot(Struct, frozen=True):
    """One magnitude from since_s to until_s (since 1970). pieces: a line for each time that was watched, gaps: the
    others. limit: a line across (None: none), with its name. band: from the first sign to the end of an incident.
    marks: alarms. ticks: releases. unit: behind a value. kind: the name of its colour.
    """

    title: str
    since_s: float
    until_s: float
    pieces: tuple[PlotPiece, ...] = ()
    gaps: tuple[tuple[float, float], ...] = ()
    limit: float | None = None
    limit_name: str = ""
    bands: tuple[tuple[float, float], ...] = ()
    marks: tuple[float, ...] = ()
    ticks: tuple[float, ...] = ()
    unit: str = ""
    kind: str = "load"
    gap_name: str = ""

    @property
    def most(self) -> float:
        """The highest value."""
        return max((value for piece in self.pieces for _, value in piece), default=0.0)


def pieces(
    series: KeptSeries | None, spans: Sequence[WatchedSpan], since_s: float, until_s: float, *, rate: bool = False
) -> tuple[PlotPiece, ...]:
    """The values of a series, a line for each time its namespace was watched; None: it was 0. rate: they are counts
    since the reading before, and are wanted by the second.
    """
    slots = () if series is None else series.slots
    found = []
    for began_s, ended_s in _joined(spans, since_s, until_s):
        mine = [slot for slot in slots if began_s - slot.step_s < slot.at_s <= ended_s]
        fine = not mine or mine[0].step_s == Tier.SECONDS.step_s
        points = _by_reading(mine, began_s, ended_s, rate) if fine else _by_slot(mine, began_s, ended_s, rate)
        found.append(_fewer([(min(max(at, since_s), until_s), value) for at, value in points]))
    return tuple(found)


def _joined(spans: Iterable[WatchedSpan], since_s: float, until_s: float) -> list[tuple[float, float]]:
    """The times that were watched, those next to each other as one."""
    found: list[tuple[float, float]] = []
    for span in sorted(spans, key=lambda one: one.began_s):
        began_s, ended_s = max(span.began_s, since_s), min(span.ended_s, until_s)
        if found and began_s <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], ended_s)
        elif began_s < ended_s:
            found.append((began_s, ended_s))
    return found


def _by_reading(slots: list[Slot], began_s: float, ended_s: float, rate: bool) -> list[PlotPoint]:
    """Slots of a second: each is of a reading. The 0 before and behind other values is kept, so between two slots the
    value neither rose from nor fell to 0.
    """
    points: list[PlotPoint] = []
    if not slots or not slots[0].max:
        points.append((began_s, 0.0))
    before = None
    for slot in slots:
        seconds = 1 if before is None else max(1, slot.at_s - before)
        points.append((float(slot.at_s), slot.sum / seconds if rate else float(slot.max)))
        before = slot.at_s
    if not points[-1][1] and points[-1][0] < ended_s:
        points.append((ended_s, 0.0))
    return points


def _by_slot(slots: list[Slot], began_s: float, ended_s: float, rate: bool) -> list[PlotPoint]:
    """Slots of a minute or an hour; one that is missing was 0."""
    points: list[PlotPoint] = [(began_s, 0.0)] if slots[0].at_s > began_s else []
    for slot in slots:
        middle, step = slot.at_s + slot.step_s / 2, slot.step_s
        if points and middle - points[-1][0] > step * 1.5:
            points += [(min(points[-1][0] + step, middle - step), 0.0), (middle - step, 0.0)]
        points.append((middle, slot.sum / step if rate else float(slot.max)))
    if ended_s - points[-1][0] > slots[0].step_s:
        points += [(points[-1][0] + slots[0].step_s, 0.0), (ended_s, 0.0)]
    return points


def _fewer(points: list[PlotPoint]) -> PlotPiece:
    """At most POINTS_MOST points: the highest of each part."""
    if len(points) <= POINTS_MOST:
        return tuple(points)
    first, last, rest = points[0], points[-1], points[1:-1]
    each = -(-len(rest) // (POINTS_MOST - 2))
    parts = (rest[i : i + each] for i in range(0, len(rest), each))
    return (first, *(max(part, key=lambda point: point[1]) for part in parts), last)


def columns(plot: Plot, width: int) -> list[int | None]:
    """The highest value in each of `width` equal parts of the time, as `timechart` takes them; None: not watched."""
    each = (plot.until_s - plot.since_s) / width
    values: list[int | None] = [None] * width
    for piece in plot.pieces:
        for (at, value), (next_at, next_value) in zip(piece, (*piece[1:], piece[-1]), strict=True):
            first, last = int((at - plot.since_s) / each), int((next_at - plot.since_s) / each)
            for i in range(max(0, first), min(width - 1, last) + 1):
                part = value if i == first else next_value if i == last else min(value, next_value)
                values[i] = max(values[i] or 0, round(part))
    return values
