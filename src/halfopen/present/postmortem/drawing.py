"""A plot as SVG that takes its colours from the page around it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from html import escape
from typing import Final

from halfopen.present.postmortem.plots import Plot, PlotPiece

WIDTH: Final = 720
_LEFT: Final = 58
_RIGHT: Final = 10
_TOP: Final = 8
_BELOW: Final = 24
_TALL: Final = 190
_LOW: Final = 64
# How far lines of text are apart.
_LINE: Final = 14
_LABEL_APART: Final = 92
# Steps of a time axis, in seconds.
_STEPS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 7 * 86400)


def svg(plot: Plot, *, tall: bool) -> str:
    """The drawing, with a title and a description for those who do not see it."""
    frame = _Frame(plot, _TALL if tall else _LOW)
    height = frame.bottom + _BELOW
    label = f"{plot.title}: {_number(plot.most)}{plot.unit}"
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" class="plot {plot.kind}">',
        f"<title>{escape(label)}</title>",
        *_bands(frame),
        *_levels(frame),
        *_times(frame),
        *_limit(frame),
    ]
    for piece in plot.pieces:
        parts += _piece(frame, piece)
    return "".join([*parts, *_marks(frame), "</svg>"])


class _Frame:
    """Where a time and a value are in the drawing."""

    def __init__(self, plot: Plot, height: int) -> None:
        self.plot, self.bottom = plot, _TOP + height
        top = plot.most
        # A limit that is far above would leave nothing to be seen of the values.
        self.limit_seen = plot.limit is not None and plot.limit <= max(top * 4, 1)
        self.top = _round_up(max(top, plot.limit or 0.0) if self.limit_seen else top)

    def x(self, at_s: float) -> float:
        share = (at_s - self.plot.since_s) / (self.plot.until_s - self.plot.since_s)
        return round(_LEFT + min(1.0, max(0.0, share)) * (WIDTH - _LEFT - _RIGHT), 1)

    @property
    def limit_at(self) -> float | None:
        """Where the name of the limit is written; None: it has none."""
        if self.plot.limit is None:
            return None
        y = self.y(self.plot.limit) if self.limit_seen else _TOP
        return _TOP + 12 if not self.limit_seen else y + 13 if y < _TOP + 16 else y - 5

    @property
    def middle(self) -> float:
        """Where words are written across a stretch, out of the way of the limit's name."""
        places = (_TOP + (self.bottom - _TOP) * share + 4 for share in (0.27, 0.72))
        first, second = places
        return second if self.limit_at is not None and abs(self.limit_at - first) < _LINE else first

    def y(self, value: float) -> float:
        return round(self.bottom - value / self.top * (self.bottom - _TOP), 1)


def _round_up(value: float) -> float:
    """The next number that is easily read, and at least 1."""
    if value <= 1:
        return 1.0
    size = 10.0 ** (len(str(int(value))) - 1)
    return next(step * size for step in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 12) if step * size >= value)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:,.1f}"


def _bands(frame: _Frame) -> Iterator[str]:
    for kind, stretches in (("band", frame.plot.bands), ("gap", frame.plot.gaps)):
        for since_s, until_s in stretches:
            left, right = frame.x(since_s), frame.x(until_s)
            wide = max(1.0, right - left)
            yield f'<rect class="{kind}" x="{left:g}" y="{_TOP}" width="{wide:g}" height="{frame.bottom - _TOP}"/>'
            if kind == "gap" and wide > _LABEL_APART:
                at, middle = (left + right) / 2, frame.middle
                words = escape(frame.plot.gap_name)
                yield f'<text class="said" x="{at:g}" y="{middle:g}" text-anchor="middle">{words}</text>'


def _levels(frame: _Frame) -> Iterator[str]:
    for value in (0.0, frame.top / 2, frame.top):
        y = frame.y(value)
        yield f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:g}" y2="{y:g}"/>'
        if value != frame.top / 2 or frame.top > 1:
            words = escape(_number(value) + frame.plot.unit)
            yield f'<text x="{_LEFT - 6}" y="{y + 4:g}" text-anchor="end">{words}</text>'


def _times(frame: _Frame) -> Iterator[str]:
    plot = frame.plot
    length = plot.until_s - plot.since_s
    room = (WIDTH - _LEFT - _RIGHT) / _LABEL_APART
    step = next((one for one in _STEPS if length / one <= room), _STEPS[-1])
    pattern = "%H:%M:%S" if step < 60 else "%H:%M" if length <= 86400 else "%m-%d %H:%M" if step < 86400 else "%m-%d"
    first = datetime.fromtimestamp(plot.since_s)
    midnight = first.replace(hour=0, minute=0, second=0, microsecond=0)
    passed = (first - midnight).total_seconds()
    at = midnight + timedelta(seconds=-(-passed // step) * step)
    while (at_s := at.timestamp()) <= plot.until_s:
        x = frame.x(at_s)
        yield f'<line class="tick" x1="{x:g}" x2="{x:g}" y1="{frame.bottom}" y2="{frame.bottom + 4}"/>'
        # Half of a label hangs over on either side.
        if _LEFT + 10 <= x <= WIDTH - 28:
            yield f'<text x="{x:g}" y="{frame.bottom + 17}" text-anchor="middle">{at:{pattern}}</text>'
        at += timedelta(seconds=step)


def _limit(frame: _Frame) -> Iterator[str]:
    limit = frame.plot.limit
    if limit is None:
        return
    words = escape(f"{frame.plot.limit_name} {limit:,.0f}")
    if not frame.limit_seen:
        yield f'<text class="said" x="{WIDTH - _RIGHT - 4}" y="{frame.limit_at:g}" text-anchor="end">{words} ↑</text>'
        return
    y = frame.y(limit)
    yield f'<line class="limit" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:g}" y2="{y:g}"/>'
    yield f'<text class="said" x="{WIDTH - _RIGHT - 4}" y="{frame.limit_at:g}" text-anchor="end">{words}</text>'


def _piece(frame: _Frame, piece: PlotPiece) -> Iterator[str]:
    points = [(frame.x(at), frame.y(value)) for at, value in piece]
    line = " ".join(f"{x:g},{y:g}" for x, y in points)
    left, right = points[0][0], points[-1][0]
    yield f'<polygon class="area" points="{left:g},{frame.bottom} {line} {right:g},{frame.bottom}"/>'
    yield f'<polyline class="line" points="{line}"/>'


def _marks(frame: _Frame) -> Iterator[str]:
    for at_s in frame.plot.marks:
        x = frame.x(at_s)
        yield f'<line class="mark" x1="{x:g}" x2="{x:g}" y1="{_TOP}" y2="{frame.bottom}"/>'
    for x in sorted({frame.x(at_s) for at_s in frame.plot.ticks}):
        y = frame.bottom
        yield f'<path class="did" d="M{x:g} {y - 1} l-4 7 h8 z"/>'
